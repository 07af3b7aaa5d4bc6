"""What a sweep has found, ready for a training with the full budget."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from common.paths import written_whole
from common.sweeps.specification import Sweep

if TYPE_CHECKING:
    from common.sweeps.table import TrialTable

BEST = "best.yaml"


def best_command(sweep: Sweep, options: Mapping[str, Any]) -> str:
    """The command line of a training with these options and without those that the sweep alone has, its budget."""
    return shlex.join(["python", *sweep.command_line(options)])


def write_best(folder: Path, sweep: Sweep, table: "TrialTable") -> Path | None:
    """Writes the options of the best trial as a configuration, to be given after the sweep's own; None without one."""
    best = table.best
    if best is None or best.value is None:
        return None
    path = folder / BEST
    text = (
        f"# Trial {best.number} of the sweep {folder.name}: {table.metric} {best.value:.4f} with the sweep's budget.\n"
    )
    with written_whole(path) as partial:
        partial.write_text(text + yaml.safe_dump(nested(best.options), sort_keys=False))
    return path


def nested(options: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted options as a configuration; a class whose arguments are options too becomes its `class_path`."""
    result: dict[str, Any] = {}
    for name, value in sorted(options.items(), key=lambda item: item[0].count(".")):
        *sections, last = name.split(".")
        place = result
        for section in sections:
            if isinstance(place.get(section), str):
                place[section] = {"class_path": place[section]}
            place = place.setdefault(section, {})
        place[last] = value
    return result
