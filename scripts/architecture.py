"""Draws docs/architecture.svg: the packages of the suite, layer by layer, and their imports.

The layers are those of the contracts in pyproject.toml, the arrows are the current imports. An import that is implied
by a path through other packages has no arrow of its own.
"""

import argparse
import html
import sys
import tomllib
from pathlib import Path

TARGET = Path("docs/architecture.svg")
WIDTH, ROW, BOX, MARGIN = 1080, 92, 40, 150
STYLE = """  <style>
    text { font: 14px sans-serif; fill: #222 } .floor { font-size: 12px; fill: #777 }
    rect { fill: #eef3f8; stroke: #4a6785 } .modality { fill: #f3eee4; stroke: #8a6d3b }
    .script { fill: #e9f4ea; stroke: #3f7d48 } path { stroke: #4a6785; fill: none; opacity: .6 }
    svg { background: white }
  </style>"""
MODALITIES = ("image", "text", "audio", "tabular")


def floors() -> list[tuple[str, list[str]]]:
    """Rows of packages from the top: scripts, the modalities, and the layers of `common` by its contract."""
    contracts = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    common = next(contract for contract in contracts if contract["name"] == "floors of common")
    rows = [("scripts", ["scripts"]), ("modalities", [f"modalities.{name}" for name in MODALITIES])]
    for layer in common["layers"]:
        rows.append(("common", [f"common.{name.strip()}" for name in layer.split("|")]))
    return rows


def imports(rooms: list[str]) -> set[tuple[str, str]]:
    """Imports between packages, without those that are implied by a path through other packages."""
    import grimp

    sys.path.insert(0, "")  # the packages of the checkout
    graph = grimp.build_graph("common", "modalities", "scripts", cache_dir=None)
    below: dict[str, set[str]] = {room: set() for room in rooms}
    for module in graph.modules:
        for other in graph.find_modules_directly_imported_by(module):
            upper, lower = _room(module, rooms), _room(other, rooms)
            if upper is not None and lower is not None and upper != lower:
                below[upper].add(lower)

    def reached(room: str) -> set[str]:
        return below[room].union(*(reached(lower) for lower in below[room]))

    indirect = {room: set().union(*(reached(lower) for lower in below[room])) for room in rooms}
    return {(upper, lower) for upper in rooms for lower in below[upper] - indirect[upper]}


def _room(module: str, rooms: list[str]) -> str | None:
    return next((room for room in rooms if module == room or module.startswith(f"{room}.")), None)


def drawing() -> str:
    """The diagram as SVG; deterministic for the same imports."""
    rows = floors()
    places: dict[str, tuple[float, float, float]] = {}  # centre, top and width of each package
    for number, (_, rooms) in enumerate(rows):
        step = (WIDTH - MARGIN) / len(rooms)
        for position, room in enumerate(rooms):
            places[room] = (MARGIN + (position + 0.5) * step, 20 + number * ROW, min(step - 16, 170))
    height = 20 + len(rows) * ROW
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">']
    lines += ["  <title>Rooms of the suite and their imports, downwards only</title>", STYLE]
    lines.append(
        '  <defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    )
    lines.append('    <path d="M0,0 L8,4 L0,8 z" style="fill:#4a6785;opacity:.6;stroke:none"/></marker></defs>')
    for upper, lower in sorted(imports(list(places))):
        x, top, _ = places[upper]
        x_end, top_end, _ = places[lower]
        bend = (top + BOX + top_end) / 2
        way = f"M{x:.0f},{top + BOX} C{x:.0f},{bend:.0f} {x_end:.0f},{bend:.0f} {x_end:.0f},{top_end}"
        lines.append(f'  <path d="{way}" stroke-width="1.5" marker-end="url(#tip)"/>')
    for name, (x, top, wide) in places.items():
        kind = {"modalities": "modality", "scripts": "script"}.get(name.partition(".")[0], "room")
        left = x - wide / 2
        lines.append(f'  <rect class="{kind}" x="{left:.0f}" y="{top}" width="{wide:.0f}" height="{BOX}" rx="5"/>')
        label = html.escape(name.rpartition(".")[2])
        lines.append(f'  <text x="{x:.0f}" y="{top + BOX / 2 + 5:.0f}" text-anchor="middle">{label}</text>')
    for number, (title, _) in enumerate(rows):
        if number == 0 or rows[number - 1][0] != title:
            lines.append(f'  <text class="floor" x="10" y="{20 + number * ROW + BOX / 2 + 5:.0f}">{title}</text>')
    return "\n".join([*lines, "</svg>", ""])


def main() -> int:
    """Draws the diagram, or with --check compares it with the existing one; 1 if they differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="check that the diagram shows the current imports")
    arguments = parser.parse_args()
    picture = drawing()
    if not arguments.check:
        TARGET.write_text(picture)
        return 0
    if TARGET.exists() and TARGET.read_text() == picture:
        return 0
    print(f"{TARGET} does not show today's imports: make architecture")
    return 1


if __name__ == "__main__":
    sys.exit(main())
