"""Where a resource stands, and which of its references stay on its own server.

A relative reference is one to the server that the resource came from. An absolute one is, too, when its base is that
server's; else another server's Patient/21 would be taken for ours. The base is known by the ``fullUrl`` of the
resource's entry, or by the address that the manifest of its export names. http and https are one server, as are a host
with its usual port and without it; letters of a host have no case; slashes at the end, or doubled, mean nothing.
``fhir.place`` holds the same in SQL.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import urlsplit

_RESOURCE = re.compile(r"[A-Z][A-Za-z0-9]*/[^/?#]+(?:/_history(?:/[^/?#]+)?)?", re.ASCII)
_ABSOLUTE = re.compile(rb'"reference"\s*+:\s*+"https?:', re.IGNORECASE)
_USUAL_PORTS = (None, 80, 443)


class Base(NamedTuple):
    """A server's base: its host, with an unusual port, and the path below which its types are."""

    host: str
    path: str


def has_absolute(raw: bytes | memoryview) -> bool:
    """Whether the text of a resource has a reference with a scheme, as a server's address has."""
    return _ABSOLUTE.search(raw) is not None


def base_of(url: str | None) -> Base | None:
    """The base of the server that a resource stands on whose address is *url*; None when it tells none."""
    place = _place(url or "")
    if place is None:
        return None
    below = _RESOURCE.search(place.path)
    while below is not None and below.end() != len(place.path):
        below = _RESOURCE.search(place.path, below.start() + 1)
    return place._replace(path=place.path[: below.start()].rstrip("/")) if below else None


def export_base(request: str) -> str | None:
    """The base of the server that was asked for an export by *request*, as an address without a slash at its end."""
    match = re.fullmatch(r"(https?://.+?)(?:/Patient|/Group/[^/]+)?/\$export(?:\?.*)?", request, re.IGNORECASE)
    return match[1].rstrip("/") if match else None


def localised(resource: dict[str, Any], url: str | None) -> dict[str, Any]:
    """*resource*, which stands at *url*, with relative references where absolute ones name its own server."""
    base = base_of(url)
    if base is not None:
        _localise(resource, base)
    return resource


def _localise(value: Any, base: Base) -> None:
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            text = value.get("reference")
            if isinstance(text, str) and (relative := _relative(text, base)):
                value["reference"] = relative
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _relative(text: str, base: Base) -> str | None:
    """An absolute reference to the server of *base* as a relative one; None for any other."""
    place = _place(text)
    if place is None or place.host != base.host or not place.path.startswith(f"{base.path}/"):
        return None
    below = place.path[len(base.path) + 1 :]
    if _RESOURCE.fullmatch(below):
        return below
    query = urlsplit(text).query
    return f"{below}?{query}" if query and below.isalpha() else None


def _place(url: str) -> Base | None:
    """Host and path of *url*; None when it is no address of a server."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    host = parts.hostname.rstrip(".") + ("" if port in _USUAL_PORTS else f":{port}")
    return Base(host, re.sub("/{2,}", "/", parts.path).rstrip("/"))
