"""The files of a Bulk Data export: onto the disk, whole, and beside them what their reader needs to know of them.

They hold patients' data, so none outlives its process for long (``readers.scratch``).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from medmirror.errors import ListingIncomplete, RemoteUnavailable
from medmirror.readers import scratch
from medmirror.readers.json.pieces import parse
from medmirror.remotes.bulk.export import File, Manifest
from medmirror.remotes.fhir.bundles import text
from medmirror.remotes.http.client import Http
from medmirror.remotes.http.download import Download

_ACCEPT = {"Accept": "application/fhir+ndjson"}
_LONGEST = 60  # letters of a name
PREFIX = "medmirror-export-"  #: of the folders' names
_SEVERE = frozenset(("error", "fatal"))


def new_folder() -> tempfile.TemporaryDirectory[str]:
    """A new folder, for this user alone; removed with the object. Those of dead processes are removed first."""
    return scratch.new_folder(PREFIX)


def name_of(file: File, number: int) -> str:
    """What the file with this *number* in its export is called here: nothing of its address."""
    plain = file.kind.isalpha() and file.kind.isascii() and len(file.kind) <= _LONGEST
    kind = file.kind if plain else "Resource"
    return f"{kind if file.where == 'output' else file.where}.{number:04d}.ndjson"


def describe(manifest: Manifest, folder: Path) -> None:
    """Write the manifest into *folder*, with the names that the files have there, for whoever reads them."""
    named: dict[str, list[dict[str, Any]]] = {"output": [], "deleted": [], "error": []}
    for number, file in enumerate(manifest.files):
        count = {} if file.lines is None else {"count": file.lines}
        named[file.where].append({"type": file.kind, "url": name_of(file, number), **count})
    description = {
        "transactionTime": text(manifest.time),
        "request": manifest.request,
        "requiresAccessToken": manifest.token,
    }
    (folder / "manifest.json").write_bytes(orjson.dumps({**description, **named}))


def fetch(http: Http, file: File, path: Path, *, token: bool) -> int:
    """Bring *file* to *path* and return the number of its lines. Where it broke off, the rest alone is asked for, if
    the server can do that.

    *token*: the files want our key, so they are of the server itself; otherwise they may lie elsewhere. Raises
    RemoteUnavailable, RemoteRefused (context *status*), ListingIncomplete when it holds other than it should.
    """
    with path.open("wb+") as out:
        http.download(file.url, Download(out, checked=True), _ACCEPT, abroad=not token)
    return _check(file, path)


def _check(file: File, path: Path) -> int:
    """The number of lines in *path*. ListingIncomplete when the manifest says another; RemoteUnavailable when the last
    one is cut."""
    count, last = 0, b""
    for line in lines(path):
        count, last = count + 1, line
    if last and parse(last)[1]:
        raise RemoteUnavailable("A file of the export ends inside a record.")
    if file.lines is not None and count != file.lines:
        raise ListingIncomplete(expected=file.lines, lines=count, list=file.where)
    return count


def lines(path: Path) -> Iterator[bytes]:
    """The lines of a file that hold something."""
    with path.open("rb") as file:
        yield from (line for line in file if line.strip())


def deletions(path: Path) -> int:
    """How many records a file of deletions names: one line may hold many."""
    return sum(len(_array(line, "entry")) for line in lines(path))


def errors(paths: Sequence[Path]) -> int:
    """How many errors there are in files of OperationOutcomes."""
    count = 0
    for path in paths:
        for line in lines(path):
            issues = _array(line, "issue")
            count += sum(1 for issue in issues if isinstance(issue, dict) and issue.get("severity") in _SEVERE)
    return count


def _array(line: bytes, name: str) -> list[Any]:
    """The array called *name* in the object of a line; an empty one where there is none."""
    value = parse(line)[0]
    array = value.get(name) if isinstance(value, dict) else None
    return array if isinstance(array, list) else []
