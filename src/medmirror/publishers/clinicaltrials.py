"""ClinicalTrials.gov by its API, version 2: the studies that were updated since, page by page.

**What is new.** Studies whose last update was posted on or after the day of the last mirror's data, less a day: posting
days are only days, and the publisher's data of a day come in the course of it. The mark is ``dataTimestamp`` of
``/version``, asked for before the list is read; when it moves meanwhile, the next mirror begins at the earlier one.

**A list is whole** when as many different studies came as its ``totalCount`` says. When the publisher forgets where we
were, or the numbers do not agree, the list is read again from its beginning, three times at most; studies that were
loaded meanwhile stay, for each is a true copy.

**Studies that were removed** show only in a list of everything: ``--whole`` reads it and counts what the mirror holds
beyond it (``--tombstones`` buries that).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any, NamedTuple

import orjson

from medmirror.errors import LayoutChanged, ListingIncomplete, PageExpired, RemoteRefused, RemoteUnavailable, UsageError
from medmirror.ingest.burial import Gone
from medmirror.publishers import vanished
from medmirror.publishers.base import BATCH_BYTES, Here, Result, Tool
from medmirror.publishers.disk import write

ADDRESS = "https://clinicaltrials.gov/api/v2"
OTHERS: tuple[str, ...] = ()
PAGE = 1000  #: studies; the API gives no more
_OVERLAP = timedelta(days=1)
_TRIES = 3
_EXPIRED = (400, 404, 410)  # for a page token
_LIST = "studies"


class _Listed(NamedTuple):
    """A list that was read: the numbers of its studies."""

    numbers: set[str]
    total: int


def run(tool: Tool) -> Result:
    """Mirror what is new."""
    mark = tool.marks().get(_LIST)
    before = _version(tool)
    since = _since(tool, mark)
    if tool.options.since == "auto" and mark == before and not tool.options.whole:
        tool.result.status = "nothing new"
        return tool.result
    if tool.options.dry_run:
        total = _ask(tool, since, None, 1).get("totalCount")
        tool.result.status, tool.result.new = "dry run", [f"{total} studies since {since or 'the beginning'}"]
        return tool.result
    listed = _whole_list(tool, since)
    tool.result.new = sorted(listed.numbers) if since else []
    if _version(tool) != before:
        tool.note("The publisher's data changed while they were read; the next mirror begins at what they were before.")
    if since is None:
        _settle(tool, listed)
    if tool.options.since in ("auto", "all") or mark is None:
        tool.mark({_LIST: before})
    return tool.result


def _version(tool: Tool) -> str:
    """What the publisher calls the state of its data: a time."""
    answer = _json(tool.downloads.get("version").body)
    moment = answer.get("dataTimestamp")
    if not isinstance(moment, str) or not re.match(r"\d{4}-\d\d-\d\d", moment, re.ASCII):
        raise LayoutChanged("The publisher's /version holds no dataTimestamp; its API is another than this one knows.")
    return moment


def _since(tool: Tool, mark: str | None) -> date | None:
    """The day to begin with; None: everything."""
    given = tool.options.since
    if given == "all" or tool.options.whole or (given == "auto" and mark is None):
        return None
    try:
        return date.fromisoformat(given) if given != "auto" else date.fromisoformat(str(mark)[:10]) - _OVERLAP
    except ValueError:
        raise UsageError("Write --since as auto, all, or a day such as 2026-01-31.") from None


def _whole_list(tool: Tool, since: date | None) -> _Listed:
    """Read the list until what came is as much as it says."""
    for left in reversed(range(_TRIES)):
        for path in tool.downloads.folder.glob("studies-*.json"):  # of a list that broke off: it begins anew
            path.unlink()
        try:
            listed = _read(tool, since)
        except PageExpired:
            if not left:
                raise
            tool.note("The publisher forgot where in its list we were; the list is read again.")
            continue
        if len(listed.numbers) == listed.total:
            return listed
        if not left:
            raise ListingIncomplete(
                f"The publisher says that the list has {listed.total:,} studies, and {len(listed.numbers):,} came; what"
                " came is loaded, and the mark stays where it was."
            )
        tool.note("The list held other studies than it said; it is read again.")
    raise AssertionError


def _read(tool: Tool, since: date | None) -> _Listed:
    """One pass over the list: its pages are loaded as they pile up."""
    listed = _Listed(set(), 0)
    waiting: list[Here] = []
    size = 0
    for number, page in enumerate(_pages(tool, since), 1):
        answer = _json(page)
        if number == 1:
            total = answer.get("totalCount")
            if not isinstance(total, int):
                raise LayoutChanged("The publisher's list does not say how many studies it has.")
            listed = listed._replace(total=total)
        listed.numbers.update(_numbers(answer))
        if not answer["studies"]:
            continue
        path = tool.downloads.folder / f"studies-{number:05d}.json"
        write(path, page)
        waiting.append(Here(path, path.name, ""))
        size += len(page)
        if size >= BATCH_BYTES:
            _load(tool, waiting)
            waiting, size = [], 0
    _load(tool, waiting)
    return listed


def _load(tool: Tool, files: list[Here]) -> None:
    for loaded in tool.load(files, remember=False):
        if not tool.options.keep:
            tool.downloads.remove(loaded.here.path)


def _pages(tool: Tool, since: date | None) -> Iterator[bytes]:
    """The answers of the list, one after the other. PageExpired when the publisher forgot where we were."""
    token = None
    met: set[str] = set()
    while True:
        body = _body(tool, since, token, PAGE)
        yield body
        token = _json(body).get("nextPageToken")
        if token is None:
            return
        if not isinstance(token, str) or token in met:
            raise ListingIncomplete("The publisher's list goes in a circle.")
        met.add(token)


def _ask(tool: Tool, since: date | None, token: str | None, size: int) -> dict[str, Any]:
    return _json(_body(tool, since, token, size))


def _body(tool: Tool, since: date | None, token: str | None, size: int) -> bytes:
    """One page. Every later one repeats what the first one was asked for."""
    params = {"format": "json", "sort": "LastUpdatePostDate:asc", "countTotal": "true", "pageSize": str(size)}
    if since is not None:
        params["filter.advanced"] = f"AREA[LastUpdatePostDate]RANGE[{since.isoformat()},MAX]"
    if token is not None:
        params["pageToken"] = token
    try:
        return tool.downloads.get("studies", tuple(params.items()), {"Accept": "application/json"}).body
    except RemoteRefused as error:
        status = error.context.get("status")
        if token is None or status not in _EXPIRED:
            raise
    raise PageExpired(status=status)


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise RemoteUnavailable("The publisher's answer is no whole JSON document.")
    return value


def _numbers(page: dict[str, Any]) -> set[str]:
    try:
        return {study["protocolSection"]["identificationModule"]["nctId"] for study in page["studies"]}
    except (KeyError, TypeError):
        raise LayoutChanged("The publisher's list holds studies without a number.") from None


def _settle(tool: Tool, listed: _Listed) -> None:
    """Count the studies that are not in a list of everything."""
    gone = [
        Gone(study.key, study.version + 1)
        for study in vanished.below(tool, "study", (1 << 63) - 1)
        if study.key[0] not in listed.numbers
    ]
    vanished.settle(tool, "study", gone, "ClinicalTrials.gov")
