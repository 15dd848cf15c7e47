"""One request on its way: what comes back, or what went wrong, and whether it may have been carried out."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from medmirror.errors import RemoteRefused, RemoteUnavailable, SyncError, UsageError
from medmirror.remotes.http.answer import Answer
from medmirror.remotes.http.download import FILE, Download
from medmirror.remotes.http.gzip import ACCEPTED, Unreadable, unpacked

if TYPE_CHECKING:
    import httpx

_LONGEST = 600.0  # seconds that one body may take
_TALKERS = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.proxy", "httpcore.socks")


def client(timeout: float, *, proxies: bool) -> httpx.Client:
    """A client that waits *timeout* seconds for the next bytes; *proxies*: those of the environment are used.

    Raises UsageError when httpx, which only those need who have a remote, is not there. It writes addresses into its
    log, and is told not to.
    """
    try:
        import httpx
    except ImportError:
        raise UsageError("Remotes need httpx: install medmirror[sync].") from None
    for name in _TALKERS:
        logger = logging.getLogger(name)
        if _silent not in logger.filters:
            logger.addFilter(_silent)
    return httpx.Client(
        timeout=httpx.Timeout(timeout, connect=min(timeout, 10.0)),
        headers={"Accept-Encoding": ACCEPTED},
        trust_env=proxies,
    )


def _silent(record: logging.LogRecord) -> bool:
    """Let nothing pass: a URL, a header, a body may name a person, or be the key."""
    return False


def once(
    client: httpx.Client,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None,
    most: int,
    download: Download | None = None,
    *,
    path: str,
    longest: float | None = None,
) -> tuple[Answer | SyncError, bool]:
    """(the answer, whatever its status, or why there is none; whether the request may have been carried out).

    A good body goes into *download*, or is held, if it has at most *most* bytes. A body is whole: as long as its
    Content-Length, or ended as its encoding ends; and it comes within *longest* seconds. *path* is shown in errors.

    Raises SyncError when *download* finds no room on the disk.
    """
    import httpx

    try:
        with client.stream(method, url, headers=dict(headers), content=body) as response:
            answered = {name.lower(): value for name, value in response.headers.items()}
            # As they come: a piece that waits until it is large would be looked at too late.
            raw = _within(response.iter_raw(), time.monotonic() + (_LONGEST if longest is None else longest))
            answer = Answer(response.status_code, answered, b"", path)
            into = download if answer.status in FILE else None
            packed = into is None or into.packed
            pieces = unpacked(raw, answered.get("content-encoding", "")) if packed else raw
            if into:
                into.take(answer, pieces)
                return answer, True
            return replace(answer, body=_joined(pieces, most)), True
    except RemoteUnavailable as error:
        return error, True
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        reason, begun = type(error).__name__, False
    except (httpx.TransportError, Unreadable, TimeoutError) as error:
        reason, begun = type(error).__name__, True
    except (httpx.InvalidURL, UnicodeError):
        return RemoteRefused("The remote's link is no address."), False
    except _TooLarge:
        text = "The remote's answer is larger than any that is expected of it."
        return RemoteRefused(text, path=path, most=most), True
    return RemoteUnavailable(path=path, reason=reason), begun


class _TooLarge(Exception):
    """A body has more bytes than a body may have."""


def _joined(pieces: Iterator[bytes], most: int) -> bytes:
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > most:
            raise _TooLarge
        held.append(piece)
    return b"".join(held)


def _within(pieces: Iterator[bytes], end: float) -> Iterator[bytes]:
    """*pieces*, as long as they come before *end*: a remote that drips must not hold a worker for ever."""
    for piece in pieces:
        if time.monotonic() > end:
            raise TimeoutError
        yield piece
