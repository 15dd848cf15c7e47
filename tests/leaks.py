"""A plugin that hears everything that a test makes medmirror say, and fails the test when it says who a patient is.

All people in our fixtures are made up (``medmirror_testing.samples.people``), and marked, so a leaked name, birthday,
phone or identifier can be told from any other text. Listened to are

* what pytest captures of each test, passed or not: standard output and error, of worker processes as well, and logs;
* what a test takes for itself: results of commands, ``capsys`` and ``capfd``, output of programs that it runs;
* every MedmirrorError that is made or comes out of a worker, with its context;
* what runs, rejects, receipts, jobs, letters and the audit log say in the test's database, when it is dropped.

What is meant to show a value says so: ``@pytest.mark.shows_values("why")``. Those tests are listed at the end.
"""

from __future__ import annotations

import logging
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, NamedTuple

import psycopg
import pytest
from click.testing import CliRunner

from medmirror.errors import MedmirrorError
from medmirror_testing.samples import people

_PEOPLE = 300  # whose birthdays are looked for: of more, dates of public data would be among them
_AROUND = 60  # characters that are told beside a leak

# What a mirror says of itself; the values of records stand in other columns.
_SAYINGS = {
    "medmirror.run": "SELECT concat_ws(' ', error, counts, settings) FROM medmirror.run",
    "medmirror.reject": "SELECT concat_ws(' ', error, reason, context) FROM medmirror.reject",
    "medmirror.file": "SELECT refused_reason FROM medmirror.file WHERE refused_reason IS NOT NULL",
    "medmirror.nightly": "SELECT CAST(n AS text) FROM medmirror.nightly AS n",
    "medmirror.job": "SELECT concat_ws(' ', step, progress, counts, message, args) FROM medmirror.job",
    "medmirror.job_log": "SELECT message FROM medmirror.job_log",
    "medmirror.dead_letter": "SELECT concat_ws(' ', error, message, incident, note) FROM medmirror.dead_letter",
    "medmirror.sync_note": "SELECT concat_ws(' ', name, value) FROM medmirror.sync_note",
    "medmirror.audit_log": "SELECT CAST(a AS text) FROM medmirror.audit_log AS a",
}


class Leak(NamedTuple):
    """*where* something was said, *what* of a patient it is, and the text around it, with stars in its place."""

    where: str
    what: str
    around: str


def _patterns() -> dict[str, re.Pattern[str]]:
    start, middle, end = ("|".join(some) for some in (people._STARTS, people._MIDDLES, people._ENDS))
    born = {people.person(number).birth_date for number in range(_PEOPLE)}
    days = [
        way
        for day in born
        for way in (
            f"{day:%Y-%m-%d}",
            f"{day:%d/%m/%Y}",
            f"{day:%d.%m.%Y}",
            f"datetime.date({day.year}, {day.month}, {day.day})",
        )
    ]
    return {
        "a family name": re.compile(
            rf"[\w.]*(?:{start})(?:{middle}){people.MARK}(?:{middle})(?:{end})[\w.@]*", re.IGNORECASE
        ),
        "a phone number": re.compile(r"(?<!\d)(?:\+?61|0)[ -]?410[ -]?0\d\d[ -]?\d{3}(?!\d)"),
        "an identifier": re.compile(r"(?<!\d)20000\d{5}(?!\d)"),
        "a birthday": re.compile(rf"(?<!\d)(?:{'|'.join(map(re.escape, days))})(?!\d|[T ]\d\d:)"),
    }


_PATTERNS = _patterns()
_heard: list[tuple[str, str]] = []
_shown: dict[str, str] = {}


def leaks(where: str, text: str) -> list[Leak]:
    """What *text* says of a patient, at most one of each kind."""
    found = []
    for what, pattern in _PATTERNS.items():
        if match := pattern.search(text):
            around = text[max(0, match.start() - _AROUND) : match.end() + _AROUND]
            for other in _PATTERNS.values():
                around = other.sub("***", around)
            found.append(Leak(where, what, " ".join(around.split())))
    return found


def hear(where: str, text: object) -> None:
    """Remember that the test under way said *text*."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    if text:
        _heard.append((where, str(text)))


def hear_database(dsn: str) -> None:
    """Remember what the mirror at *dsn* says of its runs and rejects, if it is one."""
    try:
        with psycopg.connect(dsn, autocommit=True, connect_timeout=5) as connection:
            connection.execute("SET medmirror.organization = '*'")
            for table, query in _SAYINGS.items():
                if connection.execute("SELECT to_regclass(%s)", [table]).fetchone() != (None,):
                    for (said,) in connection.execute(query.encode()):
                        hear(table, said)
    except psycopg.Error:
        return  # a test of older tables, or of a server that is gone


class _Log(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        hear("log", self.format(record))


def _listen(owner: type, name: str, tell: Callable[[Any], Iterator[tuple[str, Any]]]) -> None:
    """Have *tell* say of each result of the method *name* what was said in it."""
    method = getattr(owner, name)

    @wraps(method)
    def listening(*arguments: Any, **named: Any) -> Any:
        result = method(*arguments, **named)
        for where, text in tell(result):
            hear(where, text)
        return result

    setattr(owner, name, listening)


def _command(result: Any) -> Iterator[tuple[str, Any]]:
    yield "a command's output", result.output
    yield "a command's error", repr(result.exception) if result.exception else ""


def _program(result: Any) -> Iterator[tuple[str, Any]]:
    yield from zip(("a program's output", "a program's error"), result, strict=True)


def _captured(result: Any) -> Iterator[tuple[str, Any]]:
    yield from zip(("captured output", "captured error"), result, strict=True)


def _hear_errors() -> None:
    begin = MedmirrorError.__init__

    @wraps(begin)
    def listening(self: MedmirrorError, message: str = "", **context: Any) -> None:
        begin(self, message, **context)
        hear(f"a {type(self).__name__}", str(self))

    MedmirrorError.__init__ = listening  # type: ignore[method-assign]


def pytest_configure(config: pytest.Config) -> None:
    """Begin to listen."""
    config.addinivalue_line("markers", "shows_values(why): shows values of (made-up) patients, as it is meant to")
    _listen(CliRunner, "invoke", _command)
    _listen(subprocess.Popen, "communicate", _program)
    _listen(pytest.CaptureFixture, "readouterr", _captured)
    _hear_errors()
    logging.getLogger("medmirror").addHandler(_Log())


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Fail the test at its end when something that was said is a patient's."""
    outcome = yield
    if call.when != "teardown":
        return
    report = outcome.get_result()  # type: ignore[attr-defined]
    said = [*_heard, *report.sections]
    _heard.clear()
    mark = item.get_closest_marker("shows_values")
    if mark is not None:
        _shown[item.nodeid] = str(mark.args[0])
        return
    found = {leak for where, text in said for leak in leaks(where, text)}
    if found:
        report.outcome = "failed"
        told = "\n".join(f"{leak.what} in {leak.where}: ... {leak.around} ..." for leak in sorted(found))
        report.longrepr = f"{item.nodeid} says who a patient is:\n{told}"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """List the tests that show values on purpose."""
    if _shown:
        terminalreporter.write_line("")
        terminalreporter.write_line("tests that show values of made-up patients, as they are meant to:")
        for name, why in sorted(_shown.items()):
            terminalreporter.write_line(f"  {name}: {why}")
