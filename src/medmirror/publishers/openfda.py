"""openFDA's bulk downloads: the partitions that its manifest names, endpoint by endpoint.

**What is new.** An endpoint whose ``export_date`` is another than when it was mirrored; openFDA then exports all its
partitions anew. The manifest itself is asked for with its ETag: mostly it has not changed.

**An endpoint is whole** when each partition holds the records that the manifest says, together as many as its
``total_records``, and the manifest names the same export afterwards. When it does not, the endpoint is begun again with
the new one. A run that was killed goes on behind the partitions of that export which it has loaded.

**Records that vanished.** There is no list of deletions: what is gone is missing from the next export. Each record's
version holds the day of the export that it was last seen in, so those that are older than a whole export are counted;
where a partition has records whose newer copies the mirror holds, it is looked at for them. With ``--tombstones`` what
remains is buried, unless some record of the export could not be loaded; also after the fact, when nothing is new.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson

from medmirror import sources
from medmirror.errors import LayoutChanged, ListingIncomplete, RemoteUnavailable, UsageError
from medmirror.ingest.burial import Gone
from medmirror.model import Flaw, Item
from medmirror.publishers import vanished
from medmirror.publishers.base import Here, Loaded, Result, Tool, batches
from medmirror.publishers.download import Wanted
from medmirror.readers import files
from medmirror.readers.files import Stream
from medmirror.sources.base import Context

ADDRESS = "https://api.fda.gov"
OTHERS = ("https://download.open.fda.gov",)
FEEDS = {
    "drug/drugsfda": "drugsfda",
    "drug/enforcement": "enforcement",
    "drug/event": "event",
    "drug/label": "label",
    "drug/ndc": "ndc",
    "drug/shortages": "shortage",
}
"""The endpoints that are mirrored, and the feeds that their records are of."""

_TRIES = 3
_DAY = (1 << 20) - 1  # of a version: the day of the export
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)


class Partition(NamedTuple):
    """A file of an endpoint: where it is, its *name* here, and how many records it has."""

    url: str
    name: str
    records: int


class Endpoint(NamedTuple):
    """What the manifest says of an endpoint."""

    name: str
    exported: str
    total: int
    partitions: tuple[Partition, ...]


def run(tool: Tool) -> Result:
    """Mirror the endpoints that were exported anew."""
    only = tool.options.only or tuple(FEEDS)
    if unknown := sorted(set(only) - set(FEEDS)):
        raise UsageError(f"There is no endpoint {unknown[0]!r} that is mirrored; there are {', '.join(FEEDS)}.")
    marks = tool.marks()
    fresh = tool.options.since != "auto" or tool.options.whole or tool.options.tombstones
    endpoints, etag = _manifest(tool, {} if fresh else marks)
    if endpoints is None:
        tool.result.status = "nothing new"
        return tool.result
    missing = [name for name in only if name not in endpoints]
    if tool.options.only and missing:
        raise LayoutChanged(f"The publisher's manifest has no endpoint {missing[0]}.")
    wanted = [endpoints[name] for name in only if name in endpoints and _is_new(tool, endpoints[name], marks)]
    mirrored = [
        endpoints[name]
        for name in only
        if tool.options.tombstones and name in endpoints and marks.get(name) == endpoints[name].exported
    ]
    tool.result.new = [f"{endpoint.name} of {endpoint.exported}" for endpoint in wanted]
    if tool.options.dry_run:
        tool.result.status = "dry run"
        return tool.result
    for endpoint in wanted:
        _mirror(tool, endpoint)
    for endpoint in mirrored:
        if endpoint not in wanted:  # of what is remembered nothing is fetched: only what has vanished is looked for
            _mirror(tool, endpoint)
    if not wanted and not any(tool.result.vanished.values()):
        tool.result.status = "nothing new"
    # Only when every endpoint is up to date the manifest need not be looked at again.
    if etag and set(only) >= set(FEEDS) and tool.options.since in ("auto", "all"):
        tool.mark({"manifest": etag})
    return tool.result


def _manifest(tool: Tool, marks: dict[str, str]) -> tuple[dict[str, Endpoint] | None, str]:
    """The manifest's endpoints by name (None: it has not changed), and its ETag."""
    etag = marks.get("manifest")
    answer = tool.downloads.get("download.json", headers={"If-None-Match": etag} if etag else {})
    if etag and answer.status == 304:
        return None, ""
    try:
        results = orjson.loads(answer.body)["results"]
        named = {
            f"{area}/{name}": facts
            for area, endpoints in results.items()
            for name, facts in endpoints.items()
            if f"{area}/{name}" in FEEDS
        }
    except orjson.JSONDecodeError:
        raise RemoteUnavailable("The publisher's manifest is no whole JSON document.") from None
    except (KeyError, AttributeError, TypeError):
        raise LayoutChanged("The publisher's manifest is not laid out as this program knows it.") from None
    return {name: _endpoint(name, facts) for name, facts in named.items()}, answer.headers.get("etag", "")


def _endpoint(name: str, facts: Any) -> Endpoint:
    try:
        exported, total = facts["export_date"], facts["total_records"]
        partitions = tuple(
            Partition(partition["file"], _name(partition["file"]), int(partition["records"]))
            for partition in facts["partitions"]
        )
        date.fromisoformat(exported)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise LayoutChanged(
            "The publisher's manifest is not laid out as this program knows it.", endpoint=name
        ) from None
    names = {partition.name for partition in partitions}
    if len(names) != len(partitions) or sum(partition.records for partition in partitions) != total or not partitions:
        raise ListingIncomplete(
            "The partitions that the publisher's manifest names do not add up to the records that it says there are.",
            endpoint=name,
        )
    return Endpoint(name, exported, int(total), partitions)


def _name(url: str) -> str:
    """The name of a partition here: the parts of its path, each a plain name. ValueError when one is not."""
    parts = [part for part in urlsplit(url).path.split("/") if part]
    if not parts or not parts[-1].endswith(".json.zip") or not all(map(_PART.fullmatch, parts)):
        raise ValueError
    return "__".join(parts[-4:])


def _is_new(tool: Tool, endpoint: Endpoint, marks: dict[str, str]) -> bool:
    since = tool.options.since
    if since == "all" or tool.options.whole:
        return True
    if since == "auto":
        return marks.get(endpoint.name) != endpoint.exported
    try:
        return date.fromisoformat(endpoint.exported) >= date.fromisoformat(since)
    except ValueError:
        raise UsageError("Write --since as auto, all, or a day of export such as 2026-01-31.") from None


def _mirror(tool: Tool, endpoint: Endpoint) -> None:
    """Load every partition of *endpoint*, of one export, and note that it is done."""
    for left in reversed(range(_TRIES)):
        loaded, wrong = _load(tool, endpoint)
        endpoints, _ = _manifest(tool, {})
        now = (endpoints or {}).get(endpoint.name)
        if now is not None and now.exported == endpoint.exported and not wrong:
            break
        if now is None or not left or (wrong and now == endpoint):
            raise ListingIncomplete(
                "An endpoint is not as its manifest says" + (f": {wrong}" if wrong else "") + ".",
                endpoint=endpoint.name,
            )
        tool.note(f"{endpoint.name} was exported anew while it was fetched; it is begun again.")
        endpoint = now
    _settle(tool, endpoint, loaded)
    names = {f"{endpoint.name}/{partition.name}" for partition in endpoint.partitions}
    old = [name for name in tool.known() if name.startswith(f"{endpoint.name}/") and name not in names]
    tool.mark({endpoint.name: endpoint.exported}, forget=old)


_Key = tuple[int | str, ...]
_Seen = tuple[int, list[_Key]]
"""Of a partition: the day of its export, and the keys of its records of which the mirror holds a copy of an earlier
one."""


class _Whole(NamedTuple):
    """What was loaded of an endpoint: how many records could not be, the earliest day of export that its files bear,
    and the keys of those that the mirror holds a copy of from an earlier one: a version that the publisher took back,
    say."""

    rejected: int
    day: int
    kept: frozenset[_Key]

    def plus(self, rejected: int, seen: _Seen) -> _Whole:
        """With one more partition."""
        day, keys = seen
        return _Whole(self.rejected + rejected, min(self.day, day), self.kept | {tuple(key) for key in keys})


def _load(tool: Tool, endpoint: Endpoint) -> tuple[_Whole, str]:
    """Load what is not loaded of this export; return what that came to, and what is wrong with it (empty: nothing)."""
    again = tool.options.since == "all" or tool.options.whole
    remembered = {} if again else tool.known()
    whole, wrong = _Whole(0, _DAY, frozenset()), ""
    todo: list[Partition] = []
    for partition in endpoint.partitions:
        before = remembered.get(f"{endpoint.name}/{partition.name}")
        if before is not None and before.sign == endpoint.exported and before.records == partition.records:
            whole = whole.plus(before.rejected, orjson.loads(before.listed))
        else:
            todo.append(partition)
    promised = {f"{endpoint.name}/{partition.name}": partition.records for partition in todo}
    for batch in batches(_fetch(tool, endpoint, todo)):
        held = []
        for here in tool.load(batch, remember=False):
            name = here.here.name
            if here.records != promised[name]:
                wrong = wrong or f"{name} holds {here.records} records, not {promised[name]}"
                tool.downloads.remove(here.here.path)
                continue
            seen = _seen(tool, endpoint, here)
            whole = whole.plus(here.rejected, seen)
            held.append(here._replace(here=here.here._replace(listed=orjson.dumps(seen).decode())))
        tool.remember(held, tool.result.runs[-1])
    return whole, wrong


def _fetch(tool: Tool, endpoint: Endpoint, todo: Sequence[Partition]) -> Iterator[Here]:
    for partition in todo:
        path = tool.downloads.fetch(Wanted(partition.url, partition.name, endpoint.exported)).path
        yield Here(path, f"{endpoint.name}/{partition.name}", endpoint.exported)


def _seen(tool: Tool, endpoint: Endpoint, loaded: Loaded) -> _Seen:
    source = sources.get("openfda")
    path = loaded.here.path
    for stream in files.streams(path, tool.settings.max_zip_ratio, path.parent):
        context = source.context(stream.name, files.head(stream), stream.open, {})
        day = int(context["exported"])
        old = set() if loaded.sure else {gone.key for gone in vanished.below(tool, FEEDS[endpoint.name], day, _DAY)}
        return day, [key for key in _keys(tool, stream, context) if key in old] if old else []
    return 0, []


def _keys(tool: Tool, stream: Stream, context: Context) -> Iterator[_Key]:
    source, settings = sources.get("openfda"), tool.settings
    with stream.open() as opened:
        for block in source.split(opened, context, settings.chunk_bytes, settings.max_record_bytes):
            items = () if isinstance(block, Flaw) else source.items(block.data, block.ordinal, context)
            yield from (item.key for item in items if isinstance(item, Item))


def _settle(tool: Tool, endpoint: Endpoint, loaded: _Whole) -> None:
    """Count the records that are older than the whole export."""
    feed, day = FEEDS[endpoint.name], loaded.day
    gone = [
        Gone(product.key, (product.version & ~_DAY) | day)
        for product in vanished.below(tool, feed, day, _DAY)
        if product.key not in loaded.kept
    ]
    if loaded.rejected and tool.options.tombstones and gone:
        tool.result.vanished[feed] = len(gone)
        tool.note(f"Nothing of {endpoint.name} was buried: {loaded.rejected:,} of its records could not be loaded.")
        return
    vanished.settle(tool, feed, gone, f"{endpoint.name} of {endpoint.exported}")
