"""A benchmark as an SVG picture: stacked bars of CPU a record by stage, and lines of scaling, on light and dark."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medmirror.ingest.benchmark import Benchmark, Measured

_WIDTH, _HEIGHT = 900, 430
_TOP, _BOTTOM = 84, 340  # of both plots
_BARS = (64, 560)  # left and right of the plot of bars
_LINES = (640, 870)  # and of the one of lines
_COLOURS = ("#6b7a90", "#2f8fd8", "#1f9e89", "#d98a1f", "#b65fb0", "#5b67c9", "#c4574f", "#7d9a3c")
_STYLE = """
  text { font: 12px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #2b3440 }
  .ground { fill: #ffffff } .title { font-size: 15px; font-weight: 600 } .soft { fill: #667383 }
  .grid { stroke: #dde2e8 } .axis { stroke: #98a3b0 } .gap { stroke: #ffffff; stroke-width: 1 }
  .ideal { stroke: #98a3b0; stroke-dasharray: 4 4; fill: none } .line { fill: none; stroke-width: 2.5 }
  @media (prefers-color-scheme: dark) {
    text { fill: #dfe5ec } .ground { fill: #14191f } .soft { fill: #93a0ae } .grid { stroke: #2a323c }
    .axis { stroke: #5c6875 } .gap { stroke: #14191f } .ideal { stroke: #5c6875 }
  }
"""
_NEW, _AGAIN = "#2f8fd8", "#d98a1f"


def draw(result: Benchmark) -> str:
    """*result* as the text of an SVG file."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}"'
        ' role="img">',
        f"<title>{escape(summary(result))}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="ground" width="{_WIDTH}" height="{_HEIGHT}"/>',
        *_bars(result.loads),
        *_scaling(result.loads, result.cpus),
        _text(_BARS[0], _HEIGHT - 14, summary(result), "soft"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def summary(result: Benchmark) -> str:
    size = result.bytes / 1e6
    here = "" if result.server_is_here else " elsewhere (its CPU is not shown)"
    files = f"{result.files:,} {'file' if result.files == 1 else 'files'}"
    return f"{files}, {size:,.1f} MB; {result.cpus} processors; Postgres {result.server_version}{here}"


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def ticks(most: float, count: int = 5) -> list[float]:
    """Round values from 0 to at least *most*, about *count* of them."""
    rough = max(most, 1e-9) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    return [step * number for number in range(math.ceil(most / step - 1e-9) + 1)]


def _place(value: float, most: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * value / most


def _grid(left: float, right: float, marks: Sequence[float]) -> Iterator[str]:
    for mark in marks:
        y = _place(mark, marks[-1])
        yield _line(left, y, right, y, "grid" if mark else "axis")
        yield _text(left - 8, y + 4, f"{mark:,.10g}", "soft", "end")


def _bars(loads: Sequence[Measured]) -> Iterator[str]:
    """CPU a record, stacked by stage: a pair of bars (new, unchanged) for each number of workers."""
    stages = list(dict.fromkeys(stage for load in loads for stage in load.cpu_us_per_record))
    colours = {stage: _COLOURS[place % len(_COLOURS)] for place, stage in enumerate(stages)}
    marks = ticks(max(load.cpu_us for load in loads))
    left, right = _BARS
    yield _text(left, 26, "CPU a record, microseconds", "title")
    yield from _legend(left, 50, colours)
    yield from _grid(left, right, marks)
    groups = list(dict.fromkeys(load.workers for load in loads))
    room = (right - left) / len(groups)
    width = min(64.0, room / 3.2)
    for place, workers in enumerate(groups):
        middle = left + room * (place + 0.5)
        group = [load for load in loads if load.workers == workers]
        for number, load in enumerate(group):
            x = middle + (width + 10) * (number - len(group) / 2) + 5
            yield from _stack(x, width, load, colours, marks[-1])
        yield _text(middle, _BOTTOM + 40, f"{workers} {'worker' if workers == 1 else 'workers'}", "", "middle")


def _legend(x: float, y: float, colours: dict[str, str]) -> Iterator[str]:
    for stage, colour in colours.items():
        yield f'<rect x="{x:.1f}" y="{y - 10:.1f}" width="11" height="11" rx="2" fill="{colour}"/>'
        yield _text(x + 16, y, stage)
        x += 30 + 7 * len(stage)


def _stack(x: float, width: float, load: Measured, colours: dict[str, str], most: float) -> Iterator[str]:
    reached = 0.0
    for stage, colour in colours.items():
        share = load.cpu_us_per_record.get(stage, 0.0)
        top, bottom = _place(reached + share, most), _place(reached, most)
        tip = escape(f"{stage}: {share:,.1f} us")
        yield (
            f'<rect class="gap" x="{x:.1f}" y="{top:.2f}" width="{width:.1f}" height="{bottom - top:.2f}"'
            f' fill="{colour}"><title>{tip}</title></rect>'
        )
        reached += share
    yield _text(x + width / 2, _place(reached, most) - 6, f"{reached:,.0f}", "", "middle")
    yield _text(x + width / 2, _BOTTOM + 18, load.load, "soft", "middle")


def _scaling(loads: Sequence[Measured], cpus: int) -> Iterator[str]:
    """Records a second against the first number of workers; dashed: what the processors would allow at best."""
    groups = list(dict.fromkeys(measured.workers for measured in loads))
    left, right = _LINES
    best = [count / groups[0] for count in groups]
    marks = ticks(max(*best, *(measured.scaling for measured in loads), 1.0), 4)

    def x(place: int) -> float:
        return left + (right - left) * (place + 0.5) / len(groups)

    yield _text(left - 30, 26, "Scaling, records a second", "title")
    yield from _grid(left, right, marks)
    yield _text(
        left - 30, 50, f"against {groups[0]} {'worker' if groups[0] == 1 else 'workers'}; dashed: in proportion", "soft"
    )
    points = " ".join(f"{x(place):.1f},{_place(value, marks[-1]):.1f}" for place, value in enumerate(best))
    yield f'<polyline points="{points}" class="ideal"/>'
    for place, count in enumerate(groups):
        yield _text(x(place), _BOTTOM + 18, str(count), "soft", "middle")
    yield _text((left + right) / 2, _BOTTOM + 40, f"workers, on {cpus} processors", "", "middle")
    ends: list[float] = []
    for load, colour in (("new", _NEW), ("unchanged", _AGAIN)):
        same = [measured for measured in loads if measured.load == load]
        spots = [(x(groups.index(measured.workers)), _place(measured.scaling, marks[-1])) for measured in same]
        yield f'<polyline points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in spots)}" class="line" stroke="{colour}"/>'
        for (a, b), measured in zip(spots, same, strict=True):
            tip = escape(f"{load}, {measured.workers}: {measured.records_per_second:,.0f} records/s")
            yield f'<circle cx="{a:.1f}" cy="{b:.1f}" r="4" fill="{colour}"><title>{tip}</title></circle>'
        if spots:
            a, b = spots[-1]
            b += 16 if ends and abs(ends[-1] - b) < 16 else 4
            ends.append(b)
            yield _text(a + 8, b, load, "", "start")
