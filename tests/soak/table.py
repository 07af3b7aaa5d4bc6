"""The table of docs/reliability.md, whose rows are written by `make soak-kills soak-fuzz soak-steps soak-hostile`.

python -m tests.soak.table             writes the table anew from docs/reliability/*.json
python -m tests.soak.table FILE.json   takes a row that another program has measured, and does that
"""

import json
import sys
from pathlib import Path
from typing import Any

from common.pages import with_block

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "reliability.md"
ROWS = ROOT / "docs" / "reliability"


def kills(row: dict[str, Any]) -> tuple[str, str]:
    phases = ", ".join(f"{count} {PHASES[name]}" for name, count in row["kills_by_phase"].items() if name in PHASES)
    return (
        f"{row['equal']} of {row['runs']} runs equal bit for bit",
        f"{row['kills']} kills: {phases}",
    )


PHASES = {"starting": "before the first save", "training": "in training or validation", "save": "in a save",
          "test": "in the test"}  # fmt: skip


def non_finite(row: dict[str, Any]) -> tuple[str, str]:
    return (
        f"{row['checkpoints_not_finite']} checkpoints with such a number, {row['exits_with_status_0']} exits with "
        "status 0",
        f"{row['runs']} injections: " + ", ".join(f"{count} into {name}" for name, count in row["places"].items()),
    )


def hostile(row: dict[str, Any]) -> tuple[str, str]:
    return (
        f"{row['executions']} executions, {row['imports']} imports",
        f"{row['attempts']} attempts: "
        + ", ".join(f"{count} {name}" for name, count in row["kinds"].items())
        + f"; before them, {row['controls']['accepted']} untouched files of the same kinds, all accepted",
    )


def fuzz(row: dict[str, Any]) -> tuple[str, str]:
    targets = row["targets"].values()
    found = sum(sum(target["findings"].values()) for target in targets)
    read, refused = (sum(target[name] for target in targets) for name in ("read", "refused"))
    return (
        f"{found} findings",
        f"{row['cases']:,} files for {len(row['targets'])} readers: {read:,} read, {refused:,} refused by name",
    )


def steps(row: dict[str, Any]) -> tuple[str, str]:
    second, last = row["second_quarter"], row["last_quarter"]
    parts = [f"{name} {second[name]:g} to {last[name]:g}" for name in ("memory_mb", "files", "threads")]
    return (", ".join(parts).replace("memory_mb", "memory in MB"), f"{row['steps']:,} steps")


def cost(row: dict[str, Any]) -> tuple[str, str]:
    clock, processor = row["clock"], row["processor"]
    return (
        f"{clock['percent']:.1f} % by the clock, {processor['percent']:.1f} % by the processor",
        f"{row['repetitions']} pairs of trainings of {row['steps']} steps in turn, medians; quartiles of the pairs by "
        f"the processor {processor['quartiles'][0]:.1f} to {processor['quartiles'][1]:.1f} %; load of the machine "
        f"{row['load']:g}",
    )


# What is done, and what is wanted.
BARS = {
    "kills": (kills, "SIGKILL at random moments, chains of up to 5, all modalities, on a disk and in memory",
              "100 of 100 equal bit for bit"),
    "non_finite": (non_finite, "NaN in the data, a weight, a gradient or the loss, at any step",
                   "no checkpoint with a number that is not finite, no status 0"),
    "hostile": (hostile, "hostile checkpoints and configurations",
                "at least 500 attempts, 0 executions, 0 imports outside of the allowed packages"),
    "fuzz": (fuzz, "damaged and mutated files for everything that reads files", "read, or refused by name"),
    "steps": (steps, "20,000 steps of the digits' configuration: means of the second and the last quarter",
              "within 2 %"),
    "cost": (cost, "time that guards, checkpoints and seeds of steps add to a training", "at most 2 %"),
}  # fmt: skip


def table(rows: dict[str, dict[str, Any]]) -> str:
    """The table in Markdown."""
    lines = ["| what is done | wanted | measured | with |", "|---|---|---|---|"]
    for name, (cells, done, wanted) in BARS.items():
        measured, how = cells(rows[name]) if name in rows else ("not yet", "")
        lines.append(f"| {done} | {wanted} | {measured} | {how} |")
    return "\n".join(lines) + "\n"


def stored() -> dict[str, dict[str, Any]]:
    """The measured rows by name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(ROWS.glob("*.json")) if path.stem in BARS}


def renewed(text: str) -> str:
    """A page with the present table."""
    return with_block(text, "reliability", table(stored()))


def write_row(name: str, row: dict[str, Any]) -> None:
    """Stores a row, and puts the table into the page."""
    ROWS.mkdir(exist_ok=True)
    (ROWS / f"{name}.json").write_text(json.dumps(row, indent=1) + "\n")
    if PAGE.exists():
        PAGE.write_text(renewed(PAGE.read_text()))
    print(f"{name}: {'; '.join(BARS[name][0](row))}")


def main(words: list[str]) -> None:
    """Takes rows of files, and writes the table."""
    for path in map(Path, words):
        write_row(path.stem, json.loads(path.read_text()))
    PAGE.write_text(renewed(PAGE.read_text()))


if __name__ == "__main__":
    main(sys.argv[1:])
