"""References as FHIR writes them: relative, absolute, ``urn:uuid:``, contained, a search, an identifier, or words.

Only a relative one names a record of ours: the reader of FHIR makes those relative that name the resource's own server.
An absolute one that is left is kept as the ``url`` of a record of another place, and so is a contained resource (#id),
which is no record.

One of a bundle's ``urn:uuid:`` names a resource of that id when the bundle's maker gave both the same one (Synthea
does); the type is then what the reference itself says, or what the field refers to (option *feed*).
"""

from __future__ import annotations

import re
from typing import Any

_ID = re.compile(r"(?:(?!//)[^:?#]*/)?([A-Z][A-Za-z]+)/([A-Za-z0-9.-]{1,64})(?:/_history/[^/]+)?/?")
_ELSEWHERE = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//.*|[a-z][a-z0-9+.-]*:.*|#.*", re.IGNORECASE | re.DOTALL)
_TYPE = re.compile(r".*/([A-Z][A-Za-z]+)/[A-Za-z0-9.-]{1,64}(?:/_history/[^/]+)?/?")
_SEARCH = re.compile(r"([A-Z][A-Za-z]+)\?identifier=(?:([^|]*)\|)?(.+)")
_URN = ("urn:uuid:", "urn:oid:")


def reference(value: Any, feed: str | None) -> dict[str, Any] | None:
    """The canonical reference of a FHIR Reference (or of its text alone), or None. Raises ValueError for another
    value."""
    if isinstance(value, str):
        value = {"reference": value}
    if not isinstance(value, dict):
        raise ValueError("no reference")
    target = _target(value.get("reference"), value.get("type") or feed)
    identifier = value.get("identifier")
    if (
        isinstance(identifier, dict)
        and not target.keys() & {"id", "url"}
        and "identifier" not in target
        and identifier.get("value")
    ):
        target["identifier"] = {name: identifier[name] for name in ("system", "value") if identifier.get(name)}
        target.setdefault("feed", value.get("type") or feed)
    if value.get("display"):
        target["text"] = value["display"]
    return {name: part for name, part in target.items() if part is not None} or None


def _target(text: Any, feed: str | None) -> dict[str, Any]:
    if text is None or text == "":
        return {}
    if not isinstance(text, str):
        raise ValueError("no reference")
    if match := _ID.fullmatch(text):
        return {"feed": match[1], "id": match[2]}
    if match := _SEARCH.fullmatch(text):
        system = {"system": match[2]} if match[2] else {}
        return {"feed": match[1], "identifier": {**system, "value": match[3]}}
    if text.startswith(_URN):
        return {"feed": feed, "id": text.split(":", 2)[2]}
    if _ELSEWHERE.fullmatch(text):
        kind = _TYPE.fullmatch(text)
        return {"feed": kind[1] if kind else feed, "url": text}
    return {"feed": feed, "id": text}


def written(value: dict[str, Any]) -> dict[str, Any]:
    """A canonical reference as a FHIR Reference. Raises ValueError when it has nothing to write."""
    answer: dict[str, Any] = {}
    feed, identity, identifier = value.get("feed"), value.get("id"), value.get("identifier")
    if identity is not None:
        plain = feed and _ID.fullmatch(f"{feed}/{identity}")
        answer["reference"] = f"{feed}/{identity}" if plain else identity
        if feed and not plain:
            answer["type"] = feed
    elif value.get("url") is not None:
        answer["reference"] = value["url"]
        if feed and not _TYPE.fullmatch(value["url"]):
            answer["type"] = feed
    elif identifier:
        answer["identifier"] = dict(identifier)
        if feed:
            answer["type"] = feed
    if value.get("text"):
        answer["display"] = value["text"]
    if not answer:
        raise ValueError("no reference")
    return answer
