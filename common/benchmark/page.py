"""docs/performance.md, whose table is made of docs/performance/*.json."""

import json
import statistics
from pathlib import Path
from typing import Any

from common.pages import with_block

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "performance.md"
ROWS = ROOT / "docs" / "performance"


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Rates and ratios of each work in Markdown."""
    lines = ["| work | contender | examples a second | the suite is faster by (quartiles) |", "|---|---|---|---|"]
    for key, row in rows.items():
        name = f"{key}, {row['rounds']} rounds"
        for contender, rates in row["rates"].items():
            ratio = row["of"].get(contender)
            said = "" if ratio is None else f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"
            lines.append(f"| {name} | {contender} | {statistics.median(rates):,.0f} | {said} |")
        if above := row.get("milliseconds_above_plain"):
            more = f"{above['median']:.2f} ms a step more ({above['low']:.2f} to {above['high']:.2f})"
            lines.append(f"| {name} | trainer, logs and guards above the plain loop | | {more} |")
    return "\n".join(lines) + "\n"


def stored() -> dict[str, dict[str, Any]]:
    """The measured rows by name."""
    files = sorted(ROWS.glob("training-*.json"))
    return {file.stem.removeprefix("training-"): json.loads(file.read_text()) for file in files}


def renewed(text: str) -> str:
    """A page with the present table."""
    return with_block(text, "training", table(stored()))


def write_page() -> None:
    """Puts the table into the page."""
    PAGE.write_text(renewed(PAGE.read_text()))
