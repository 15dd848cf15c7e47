"""The facts that a saved page gives about itself (its list, its number, the total), and the test of whole lists.

Cliniko leaves archived and cancelled records out of a list unless the request names them (``q[]=archived_at:*``), or it
has lists of their own for them (``/patients/archived``). So a kind of record is whole when its lists together cover
every state of its records, each list from its first page to its last.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import orjson

from medmirror.model import Certificate, Witness
from medmirror.sources.cliniko.layout import KINDS

UNKNOWN = -1  # of a number that a page does not give

_LIST = re.compile(r"/v\d+/((?:[a-z_]+/[^/]+/)*)([a-z_]+)(?:/(deleted|archived|cancelled|active|inactive))?/?")
_NAMED = re.compile(
    rf"(?:^|[/\\._ -])({'|'.join(KINDS)})(?:[/\\._ -]+(deleted|archived|cancelled|inactive))?"
    r"(?:[/\\._ -]+(?:page[._ -]*)?(\d+))?(?=[/\\._ -]|$)"
)
_INCLUDED = {"archived_at:*": "archived", "cancelled_at:*": "cancelled"}
_TAIL = 1 << 16  # bytes that the values behind the records may take
_TRIES = 1000


class Page(NamedTuple):
    """The facts that a page gives about itself.

    *part_of* is its list (patients/deleted), "" when it is unknown. *including* has the states of records that the
    request named beside the list's own. *partial*: the request selected a part of the records.
    """

    part_of: str = ""
    number: int = UNKNOWN
    per_page: int = UNKNOWN
    total: int = UNKNOWN
    last: int = UNKNOWN  # 1: no page follows
    including: str = ""
    partial: int = 0

    @property
    def feed(self) -> str:
        """The feed of the list; "" for a list that is not known."""
        return KINDS.get(self.part_of.partition("/")[0], "")


def page(values: Mapping[str, Any], path: str) -> Page:
    """The page that the *values* around its records describe; without a link there, the one that *path* names."""
    links = values.get("links")
    links = links if isinstance(links, dict) else {}
    description = _from_link(links.get("self")) or _from_name(path)
    following = _from_link(links.get("next"))
    if description.number == UNKNOWN and links.get("self"):
        description = description._replace(number=1)
    if description.per_page == UNKNOWN and following:
        description = description._replace(per_page=following.per_page)
    last = UNKNOWN if not links else 0 if links.get("next") else 1
    return description._replace(total=_whole(values.get("total_entries")), last=last)


def linked(link: Any) -> str:
    """The list that a record's link to itself names; "" when it names none."""
    match = re.search(r"/([a-z_]+)/[^/?#]+/?$", link) if isinstance(link, str) else None
    return match[1] if match else ""


def _whole(value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else UNKNOWN


def _from_link(link: Any) -> Page | None:
    if not isinstance(link, str):
        return None
    url = urlsplit(link)
    match = _LIST.fullmatch(url.path)
    if not match:
        return None
    parameters = parse_qsl(url.query)
    filters = [value.strip() for name, value in parameters if name.startswith("q")]
    numbers = {name: _whole(value) for name, value in parameters if name in ("page", "per_page")}
    return Page(
        "/".join(part for part in (match[2], match[3] if match[3] != "active" else "") if part),
        numbers.get("page", UNKNOWN),
        numbers.get("per_page", UNKNOWN),
        including=" ".join(sorted({_INCLUDED[value] for value in filters if value in _INCLUDED})),
        partial=int(bool(match[1]) or any(value not in _INCLUDED for value in filters)),
    )


def _from_name(path: str) -> Page:
    """The page that a file's or folder's name describes: patients-deleted-0001.json, patients/deleted/1.json."""
    matches = list(_NAMED.finditer(path))
    if not matches:
        return Page()
    match = matches[-1]
    number = match[3] or next(iter(re.findall(r"(\d+)\D*$", path[match.end() :])), None)
    return Page(f"{match[1]}/{match[2]}" if match[2] else match[1], int(number) if number else UNKNOWN)


def behind(stream: BinaryIO) -> dict[str, Any]:
    """The values behind the last array of the object in *stream*; an empty dict when the object is not closed.

    Reads all of a packed stream, the end of another one.
    """
    if stream.seekable():
        stream.seek(max(0, stream.seek(0, 2) - _TAIL))
    tail = b""
    while piece := stream.read(1 << 20):
        tail = (tail + piece)[-_TAIL:]
    values: dict[str, Any] = {}
    for match in reversed(list(re.finditer(rb"\]\s*,", tail))[-_TRIES:]):
        try:  # within an array, an object or a text, the brackets and quotes behind the place do not match
            values = orjson.loads(b"{" + tail[match.end() :])
        except orjson.JSONDecodeError:
            continue
        if {"links", "total_entries"} <= values.keys():
            break
    return values


# --- whole lists

_ARCHIVED, _CANCELLED = frozenset({"archived"}), frozenset({"cancelled"})
_STATES: Mapping[str, frozenset[frozenset[str]]] = {
    "patient": frozenset({frozenset(), _ARCHIVED}),
    "appointment": frozenset({frozenset(), _ARCHIVED, _CANCELLED, _ARCHIVED | _CANCELLED}),
    "practitioner": frozenset({frozenset(), frozenset({"inactive"})}),
}
_PLAIN = frozenset({frozenset[str]()})


def certify(witnesses: Sequence[Witness]) -> list[Certificate]:
    """A certificate for each feed that a file is of, in the order of their names."""
    lists: dict[str, dict[tuple[str, str], list[Witness]]] = {}
    loose: dict[str, int] = {}
    refused = [witness for witness in witnesses if not witness.context]
    for witness in witnesses:
        context = witness.context
        feed = str(context.get("feed", ""))
        kind = str(context.get("list", ""))
        if not context or kind.endswith("/deleted"):  # a list of deleted ones adds nothing to what is there
            continue
        if not kind or context.get("page") == UNKNOWN or context.get("partial"):
            loose[feed] = loose.get(feed, 0) + witness.read
        else:
            lists.setdefault(feed, {}).setdefault((kind, str(context.get("including", ""))), []).append(witness)
    names = sorted({*lists, *(name for name, read in loose.items() if name and read)})
    return [_certificate(name, lists.get(name, {}), loose.get(name, 0), len(refused)) for name in names]


def _certificate(
    feed: str, lists: Mapping[tuple[str, str], Sequence[Witness]], loose: int, refused: int
) -> Certificate:
    reasons: list[str] = []
    held: set[frozenset[str]] = set()
    expected = 0
    for (kind, including), pages in sorted(lists.items()):
        reasons += [f"{kind}: {reason}" for reason in _missing(pages)]
        held |= _states(kind, including)
        expected += max(int(page.context.get("total", UNKNOWN)) for page in pages)
    for state in sorted(map(sorted, _STATES.get(feed, _PLAIN) - held)):
        what = " and ".join(state) or "not archived or cancelled"
        reasons.append(f"No list of the pages loaded holds records that are {what}.")
    if refused:
        reasons.append(f"{refused} files were refused before it could be told what they are.")
    seen = loose + sum(page.read for pages in lists.values() for page in pages)
    totals_given = lists and all(
        int(page.context.get("total", UNKNOWN)) >= 0 for pages in lists.values() for page in pages
    )
    return Certificate((feed,), not reasons, expected if totals_given else None, seen, tuple(reasons))


def _states(kind: str, including: str) -> set[frozenset[str]]:
    """The states of the records in a list whose request named *including* beside the list's own."""
    states = {frozenset(filter(None, [kind.partition("/")[2]]))}
    for other in including.split():
        states |= {state | {other} for state in states}
    return states


def _missing(pages: Sequence[Witness]) -> Iterator[str]:
    """The reasons why the *pages* are not a whole list."""
    numbers = sorted(int(page.context["page"]) for page in pages)
    total = max(int(page.context.get("total", UNKNOWN)) for page in pages)
    if numbers != list(range(1, len(numbers) + 1)):
        yield _gaps(numbers)
    if not any(page.context.get("last") == 1 and page.context["page"] == numbers[-1] for page in pages):
        yield "the last page is not there, or does not say that it is the last"
    totals = {int(page.context.get("total", UNKNOWN)) for page in pages}
    if len(totals - {UNKNOWN}) > 1:
        yield "its pages do not agree on how many records there are: it changed while it was saved"
    elif len(totals) > 1:
        yield "some of its pages do not say how many records there are"
    if total == UNKNOWN:
        yield "its pages do not say how many records there are"
    elif (read := sum(page.read for page in pages)) != total:
        yield f"it has {total} records, and its pages hold {read}"
    if wrong := sum(page.status not in ("done", "skipped") for page in pages):
        yield f"{wrong} pages were not loaded to their ends"
    if rejected := sum(page.rejected for page in pages):
        yield f"{rejected} records were rejected"


def _gaps(numbers: Iterable[int]) -> str:
    present = list(numbers)
    missing = sorted(set(range(1, present[-1] + 1)) - set(present))
    if missing:
        return f"pages are missing, the first of them page {missing[0]}"
    return "a page is there twice"
