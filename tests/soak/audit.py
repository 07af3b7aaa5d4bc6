"""Compares installed packages with PyPI's advisories, and says how many could be compared.

    python -m tests.soak.audit PIP_AUDIT FOLDER        of the packages in a folder, with an installed pip-audit

pip-audit itself finds no fault where the advisories cannot be reached: here the status is 3 then.
"""

import json
import subprocess
import sys


def verdict(report: str) -> tuple[int, list[str]]:
    """Exit status and lines for pip-audit's JSON: 1 after a finding, 3 where no package could be compared."""
    packages = json.loads(report)["dependencies"] if report.strip() else []
    compared = [package for package in packages if "vulns" in package]
    found = [
        f"{package['name']} {package['version']}: {weakness['id']}, mended in {weakness['fix_versions']}"
        for package in compared
        for weakness in package["vulns"]
    ]
    lines = [*found, f"{len(compared)} of {len(packages)} packages compared with PyPI's advisories: {len(found)} known"]
    if not compared:
        return 3, [*lines, "the advisories cannot be reached from here: nothing is known of any package"]
    return int(bool(found)), lines


def main(program: str, folder: str) -> int:
    """Prints the verdict, and returns the status."""
    command = [program, "--progress-spinner", "off", "--format", "json", "--path", folder]
    result = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    status, lines = verdict(result.stdout)
    print("\n".join(lines))
    if not result.stdout.strip():
        print(result.stderr.strip().splitlines()[-1:] or "")
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
