"""The house as one ordered list, what its modules really import, and its picture.

``python tests/architecture.py`` draws docs/images/architecture.svg anew.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from html import escape
from pathlib import Path
from typing import NamedTuple

import places

HOUSE = places.ROOT / "src" / "medmirror"
PICTURE = places.ROOT / "docs" / "images" / "architecture.svg"

ORDER = {
    "errors": "every error, as one tree",
    "version": "the version",
    "model": "plain values that cross borders",
    "clock": "times, nights, a clock to hand in",
    "dates": "one grammar of dates",
    "copyformat": "Postgres' binary COPY rows",
    "settings": "the environment, read once",
    "native": "the C library's loader",
    "mapping": "canonical schema, mappers to it",
    "readers": "bytes of a format to items and rows",
    "db": "connections, ledger, locks, COPY",
    "sources": "what a source's items are",
    "remotes": "what is read and written over a wire",
    "search": "full text",
    "verify": "audit and diff",
    "matching": "which records are one person",
    "ingest": "files or pages to tables",
    "nightly": "all of it, once a night",
    "publishers": "the publishers' files",
    "sync": "one organisation kept in step",
    "jobs": "work asked for, done under a lease",
    "schedule": "when an organisation is due",
    "service": "the HTTP face",
    "cli": "the command line",
}
"""Each module and package of medmirror, lowest first: it may import only what stands before it."""

FRONT_DOOR = frozenset(("__init__", "__main__"))
"""The package's own face hands out names of every floor; nothing imports it."""


class Import(NamedTuple):
    """An import of one part of medmirror by another: *place* is file and line."""

    importer: str
    imported: str
    place: str


def part_of(path: Path) -> str:
    """The module or package of medmirror that the file *path* belongs to."""
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def modules() -> list[Path]:
    """Every Python file of medmirror, in the order of their paths."""
    return sorted(HOUSE.rglob("*.py"))


@cache
def imports() -> tuple[Import, ...]:
    """Every import of another part of medmirror, those within functions too."""
    return tuple(link for path in modules() for link in _imports(path))


def _imports(path: Path) -> Iterator[Import]:
    importer = part_of(path)
    package = ["medmirror", *path.relative_to(HOUSE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{stem}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            top, _, rest = name.partition(".")
            imported = rest.partition(".")[0]
            if top == "medmirror" and imported and imported != importer:
                yield Import(importer, imported, f"{path.relative_to(HOUSE)}:{node.lineno}")


def links() -> dict[str, set[str]]:
    """What each part imports, without the front door."""
    found: dict[str, set[str]] = {name: set() for name in ORDER}
    for link in imports():
        if link.importer in ORDER and link.imported in ORDER:
            found[link.importer].add(link.imported)
    return found


def floors() -> dict[str, int]:
    """The floor of each part by import depth: 1 imports nothing of medmirror, others stand above all they import."""
    heights: dict[str, int] = {}
    imported = links()
    for name in ORDER:
        heights[name] = 1 + max((heights.get(other, 0) for other in imported[name]), default=0)
    return heights


_WIDTH, _ROW, _BOX, _TALL, _TOP = 1180, 82, 206, 44, 74
_STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #2b3440 }
  .ground { fill: #ffffff } .title { font-size: 17px; font-weight: 600 } .soft { fill: #667383; font-size: 10px }
  .box { fill: #eef3f9; stroke: #2f6fb0 } .arrow { fill: none; stroke: #98a3b0 } .name { font-weight: 600 }
  .number { fill: #98a3b0; font-size: 12px }
  @media (prefers-color-scheme: dark) {
    text { fill: #dfe5ec } .ground { fill: #14191f } .soft { fill: #93a0ae } .box { fill: #1d2731; stroke: #5aa0e0 }
    .arrow { stroke: #4a5663 } .number { fill: #5c6875 }
  }
"""


def draw() -> str:
    """The house as the text of an SVG file: a row a floor, the command line on top.

    An arrow runs from a part to what it imports. What follows from other arrows is left out: A to C beside A to B to C.
    """
    heights = floors()
    top = max(heights.values())
    rows = {floor: [name for name in ORDER if heights[name] == floor] for floor in range(1, top + 1)}
    places_of: dict[str, tuple[float, float]] = {}
    for floor, names in rows.items():
        y = _TOP + (top - floor) * _ROW
        gap = (_WIDTH - 60) / len(names)
        for place, name in enumerate(names):
            places_of[name] = (60 + gap * (place + 0.5), y)
    height = _TOP + top * _ROW
    title = f"medmirror: {len(ORDER)} parts on {top} floors; each imports only what stands below it"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
        ' role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="ground" width="{_WIDTH}" height="{height}"/>',
        f'<text class="title" x="24" y="34">{escape(title)}</text>',
        *(f'<path class="arrow" d="{path}"/>' for path in _arrows(places_of)),
    ]
    for floor in rows:
        lines.append(f'<text class="number" x="24" y="{_TOP + (top - floor) * _ROW + _TALL / 2 + 4}">{floor}</text>')
    for name, (x, y) in places_of.items():
        lines += [
            f'<rect class="box" x="{x - _BOX / 2:.1f}" y="{y}" width="{_BOX}" height="{_TALL}" rx="6"/>',
            f'<text class="name" x="{x:.1f}" y="{y + 19}" text-anchor="middle">{escape(name)}</text>',
            f'<text class="soft" x="{x:.1f}" y="{y + 35}" text-anchor="middle">{escape(ORDER[name])}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


def _arrows(places_of: Mapping[str, tuple[float, float]]) -> Iterator[str]:
    for name, imported in _needed(links()).items():
        x, y = places_of[name]
        for other in sorted(imported, key=list(ORDER).index):
            to_x, to_y = places_of[other]
            bend = (to_y - y - _TALL) / 2
            yield f"M{x:.1f} {y + _TALL} C{x:.1f} {y + _TALL + bend:.1f} {to_x:.1f} {to_y - bend:.1f} {to_x:.1f} {to_y}"


def _needed(imported: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """*imported* without what follows from the rest of it."""
    below: dict[str, set[str]] = {}
    needed: dict[str, set[str]] = {}
    for name in ORDER:
        others = {other for other in imported[name] if other in below}
        implied = {low for other in others for low in below[other]}
        needed[name] = others - implied
        below[name] = others | implied
    return needed


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
