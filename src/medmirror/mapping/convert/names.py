"""Names that a source keeps in one text, taken apart and put together again."""

from __future__ import annotations

from typing import Any

ORDERS = ("family, given", "given family", "family given")


def apart(text: str, order: str) -> dict[str, Any]:
    """The canonical name in *text*, which is written in *order* (one of ORDERS); ``text`` keeps it whole.

    "family, given" is split at the first comma; the other orders at the last (or first) space. So a family name of
    several words is not recognised: when a source has a field for it, read that field instead.
    """
    text = " ".join(text.split())
    if order == "family, given":
        family, _, given = text.partition(",")
    elif order == "given family":
        given, _, family = text.rpartition(" ")
    else:
        family, _, given = text.partition(" ")
    name: dict[str, Any] = {"text": text}
    if family.strip():
        name["family"] = family.strip()
    if given.split():
        name["given"] = given.split()
    return name


def together(name: dict[str, Any], order: str) -> str:
    """A canonical name as one text in *order*. Raises ValueError when there is nothing to write."""
    family, given = name.get("family", ""), " ".join(name.get("given", ()))
    written = {
        "family, given": f"{family}, {given}" if given else family,
        "given family": f"{given} {family}",
        "family given": f"{family} {given}",
    }[order].strip()
    if not (family or given):
        written = name.get("text", "")
    elif name.get("text") and {**apart(name["text"], order), "text": None} == {**apart(written, order), "text": None}:
        written = name["text"]  # as it was given, spaces and all
    if not written:
        raise ValueError("no name")
    return str(written)
