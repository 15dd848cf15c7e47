"""What an organisation's settings say of a practice system's database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from medmirror.errors import UsageError
from medmirror.readers.database import session as database
from medmirror.remotes.sql.lists import Deletions, Feed, Timed
from medmirror.remotes.sql.times import UNITS
from medmirror.sources.sql.tables import Section, sections

SETTINGS = {
    "url": "the database, as mysql+pymysql://user@host/practice; its password is the organisation's secret",
    "mapping": "the text of the mapping file (or a list of texts) whose sections [[table]] name tables, keys and zones",
    "changed": 'kind -> the column that says when a row was changed (else `updated` of the mapping file), or "" to '
    'read the table whole; a number: {"column": "edited", "unit": "seconds"} (milliseconds, microseconds)',
    "deleted": 'kind -> where deletions stand: {"table": "deleted_rows", "key": ["id"], "at": "deleted_at"}, or '
    '{"column": "deleted_at"} of the table itself, NULL while a row lives',
    "begins": "kind -> the column that says when a record begins (appointments)",
    "page": "rows of a page; 1000 when nothing is said",
    "push": "kinds that may be written to; none when nothing is said",
    "pushed": "the table that says which writes were done; medmirror_pushed when nothing is said",
}
_PAGE, _MOST = 1_000, 100_000


class Wanted(NamedTuple):
    """The settings, read: *feeds* by kind, in the order of the mapping file."""

    url: str
    feeds: Mapping[str, Feed]
    page: int
    push: tuple[str, ...]
    pushed: str


def read(settings: Mapping[str, Any]) -> Wanted:
    """*settings*, checked. Raises UsageError, saying which is wrong and how it is written."""
    if unknown := sorted(set(settings) - set(SETTINGS)):
        raise UsageError(f"A database has no setting {unknown[0]!r}; there are {', '.join(SETTINGS)}.")
    url = settings.get("url")
    if not isinstance(url, str) or not url:
        raise UsageError("Say where the database is: the setting url, as mysql+pymysql://user@host/practice.")
    if database.has_password(url):
        raise UsageError("The URL of a database holds no password here: name it as the organisation's --secret.")
    mapping = settings.get("mapping", [])
    texts = [mapping] if isinstance(mapping, str) else mapping
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UsageError("The setting mapping is the text of a mapping file, or a list of texts.")
    by_kind = {section.kind: section for section in sections(texts)}
    if not by_kind:
        raise UsageError("Say which tables to read: a mapping file with sections [[table]], as the setting mapping.")
    named = {name: _by_kind(settings, name, by_kind) for name in ("changed", "deleted", "begins")}
    feeds = {kind: _feed(section, kind, named) for kind, section in by_kind.items()}
    page = settings.get("page", _PAGE)
    if type(page) is not int or not 1 <= page <= _MOST:
        raise UsageError(f"The setting page is a number of rows, 1 to {_MOST:,}.")
    push = settings.get("push", [])
    if not isinstance(push, list) or not set(map(str, push)) <= set(by_kind):
        raise UsageError(f"The setting push is a list of kinds: {', '.join(by_kind)}.")
    if never := [kind for kind in push if not by_kind[kind].updated]:
        raise UsageError(
            f"{never[0]} cannot be written to: its [[table]] names no column `updated`, so that nobody can "
            "tell whether a row was changed meanwhile."
        )
    pushed = settings.get("pushed", "medmirror_pushed")
    if not isinstance(pushed, str) or not pushed:
        raise UsageError("The setting pushed is the name of a table.")
    return Wanted(url, feeds, page, tuple(push), pushed)


def _by_kind(settings: Mapping[str, Any], name: str, sections_by_kind: Mapping[str, Section]) -> Mapping[str, Any]:
    given = settings.get(name, {})
    if not isinstance(given, Mapping):
        raise UsageError(f'The setting {name} is written kind by kind, as {{"patient": ...}}.')
    if unknown := sorted(set(given) - set(sections_by_kind)):
        raise UsageError(f"The setting {name} names {unknown[0]!r}; there are {', '.join(sections_by_kind)}.")
    return given


def _feed(section: Section, kind: str, named: Mapping[str, Mapping[str, Any]]) -> Feed:
    changed = named["changed"].get(kind, section.updated)
    deleted, begins = named["deleted"].get(kind), named["begins"].get(kind)
    return Feed(
        section,
        _timed(changed, "changed", kind) if changed else None,
        _deletions(deleted, section) if deleted is not None else None,
        _timed(begins, "begins", kind) if begins else None,
    )


def _timed(given: Any, name: str, kind: str) -> Timed:
    if isinstance(given, str):
        return Timed(given)
    given = given if isinstance(given, Mapping) and set(given) <= {"column", "unit"} else {}
    if isinstance(given.get("column"), str) and given.get("unit") in (None, *UNITS):
        return Timed(given["column"], given.get("unit"))
    raise UsageError(
        f'The setting {name} of {kind} is a column, or {{"column": "edited", "unit": "seconds"}} with one of the units '
        f"{', '.join(UNITS)}."
    )


def _deletions(given: Any, section: Section) -> Deletions:
    example = '{"table": "deleted_rows", "key": ["id"], "at": "deleted_at"} or {"column": "deleted_at"}'
    refusal = UsageError(f"The setting deleted of {section.kind} is written as {example}.")
    if not isinstance(given, Mapping):
        raise refusal
    unit = {"unit": given["unit"]} if "unit" in given else {}
    rest = set(given) - {"unit"}
    if rest == {"column"}:
        return Deletions(_timed({"column": given["column"], **unit}, "deleted", section.kind))
    if not {"table", "at"} <= rest <= {"table", "at", "key", "schema"} or not isinstance(given["table"], str):
        raise refusal
    key = given.get("key", list(section.key))
    if not isinstance(key, list) or len(key) != len(section.key) or not all(isinstance(column, str) for column in key):
        raise UsageError(
            f"The key of the deletions of {section.kind} has as many columns as the table's: {', '.join(section.key)}."
        )
    at = _timed({"column": given["at"], **unit}, "deleted", section.kind)
    return Deletions(at, given["table"], given.get("schema"), tuple(key))
