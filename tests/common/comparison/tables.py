"""A table whose runs take no time: a script that leaves a results.json, and counts how often it was run."""

import json
from pathlib import Path

import yaml

RUN = """
import json, sys, time
from pathlib import Path

folder, seed, value = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
with open({journal!r}, "a") as file:
    file.write(f"{{sys.argv[3]}} {{seed}}\\n")
if value < 0:
    sys.exit("the value is negative")
time.sleep({seconds})
run = dict(id=folder.name, name="row", modality="none", seed=seed, git="abc", config_hash="hash",
           data_fingerprint="data", started="2026", seconds=1.5, device="cpu", peak_memory_mb=10.0, parameters=3)
nll = dict(value=value * (1 + seed / 30), stderr=0.25, n=100, unit="nats", estimator="exact")
(folder / "results.json").write_text(json.dumps(dict(run=run, metrics=dict([("test/nll", nll)]))))
"""


def write_table(folder: Path, rows: dict[str, float], seeds=(0, 1, 2), seconds: float = 0.0, **extra) -> Path:
    """A specification with one row for each value; its runs write a line to `journal` in the folder."""
    script = folder / "run.py"
    script.write_text(RUN.format(journal=str(folder / "journal"), seconds=seconds))
    table = {
        "title": "Numbers",
        "rows": {name: {"command": [str(script), "{folder}", "{seed}", str(value)]} for name, value in rows.items()},
        "columns": [{"metric": "test/nll", "title": "NLL", "better": "lower", "digits": 1}],
        "budgets": {"quick": {"seeds": list(seeds)}},
        **extra,
    }
    path = folder / "numbers.yaml"
    path.write_text(yaml.safe_dump(table, sort_keys=False))
    return path


def journal(folder: Path) -> list[str]:
    """The runs that took place, as `value seed`."""
    file = folder / "journal"
    return file.read_text().splitlines() if file.exists() else []


def compact(folder: Path) -> dict:
    """The compact results."""
    return json.loads((folder / "numbers.quick.json").read_text())
