"""The result of a claim's measurement, as text, as JSON, and as a part of RESULTS.md."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.measure import Measured


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal: the wanted value, the measured value, and whether it is met (None: it could not be measured here)."""

    wanted: str
    found: str
    met: bool | None


@dataclass(slots=True)
class Report:
    """One claim: tables, goals, and the raw figures."""

    name: str
    title: str
    tables: list[str] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def at_most(self, what: str, measured: float | None, limit: float, unit: str = "") -> None:
        """Note the goal that *measured* is *limit* or less."""
        self._goal(f"{what}: at most {limit:g}{unit}", measured, unit, None if measured is None else measured <= limit)

    def at_least(self, what: str, measured: float | None, limit: float, unit: str = "") -> None:
        """Note the goal that *measured* is *limit* or more."""
        self._goal(f"{what}: at least {limit:g}{unit}", measured, unit, None if measured is None else measured >= limit)

    def _goal(self, wanted: str, measured: float | None, unit: str, met: bool | None) -> None:
        self.goals.append(Goal(wanted, "not known here" if measured is None else f"{_short(measured)}{unit}", met))

    def keep(self, **loads: Measured | Sequence[Measured]) -> None:
        """Put measurements among the raw figures."""
        for name, load in loads.items():
            self.figures[name] = load.as_dict() if isinstance(load, Measured) else [run.as_dict() for run in load]

    def text(self) -> str:
        """The claim as printed."""
        lines = [self.title, "=" * len(self.title), *(f"{table}\n" for table in self.tables)]
        if self.goals:
            rows = [[goal.wanted, goal.found, _VERDICTS[goal.met]] for goal in self.goals]
            lines.append(columns(["goal", "measured", ""], rows, left=3))
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """The claim as plain values, for JSON."""
        return {"title": self.title, "goals": [asdict(goal) for goal in self.goals], **self.figures}


_VERDICTS = {True: "met", False: "MISSED", None: "-"}


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def middle(runs: Sequence[Measured]) -> Measured:
    """The run with the median CPU (of an even number, the cheaper of the two in the middle)."""
    return sorted(runs, key=lambda run: run.cpu)[(len(runs) - 1) // 2]


def ratio(theirs: Sequence[Measured], ours: Sequence[Measured], what: str) -> float | None:
    """How many times as much *what* (``cpu_us_a_record`` or ``seconds``) *theirs* need as *ours*: the median of the
    runs."""
    pairs = [(getattr(a, what), getattr(b, what)) for a, b in zip(theirs, ours, strict=True)]
    return median(a / b for a, b in pairs) if all(a and b for a, b in pairs) else None


def columns(titles: Sequence[str], rows: Iterable[Sequence[Any]], left: int = 1) -> str:
    """*rows* under *titles*, numbers to the right; the first *left* columns to the left. None is a dash."""
    lines = [list(titles), *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def write_markdown(path: Path, reports: Sequence[Report], head: str) -> None:
    """Put each report between its own two marker lines in *path*; one without markers there goes to the end."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    for report in reports:
        begin, end = f"<!-- bench {report.name} -->", f"<!-- end {report.name} -->"
        body = f"{begin}\n```text\n{head}\n\n{report.text()}\n```\n{end}"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        before, replaced, after = _parted(pattern, text)
        text = f"{before}{body}{after}" if replaced else f"{text.rstrip()}\n\n{body}\n"
    path.write_text(text, encoding="utf-8")


def _parted(pattern: re.Pattern[str], text: str) -> tuple[str, bool, str]:
    match = pattern.search(text)
    return (text[: match.start()], True, text[match.end() :]) if match else (text, False, "")
