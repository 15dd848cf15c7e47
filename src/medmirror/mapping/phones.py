"""Telephone numbers: E.164, extension and validity, as the package ``phonenumbers`` tells them."""

from __future__ import annotations

from functools import cache, lru_cache
from importlib.metadata import version
from typing import Any, NamedTuple


class Number(NamedTuple):
    """What a text says as a telephone number. *e164* is None when it cannot be one of its country."""

    e164: str | None
    extension: str | None


@cache
def data_version() -> str:
    """The version of the numbering plans: another one may tell other numbers valid."""
    return version("phonenumbers")


@lru_cache(maxsize=4096)
def number(text: str, region: str | None) -> Number:
    """*text* as a number, read as one dials within *region* (alpha-2) when it names no country."""
    import phonenumbers  # a tenth of a second, which only those pay who meet a telephone number

    try:
        parsed = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return Number(None, None)
    valid = phonenumbers.is_valid_number(parsed)
    e164 = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164) if valid else None
    return Number(e164, parsed.extension or None)


def finish(part: dict[str, Any], region: str | None) -> None:
    """Add to a phone what can be told from its raw text."""
    raw = part.get("raw")
    found = number(raw, region) if raw is not None else Number(None, None)
    part["e164"] = found.e164
    part["valid"] = found.e164 is not None
    if found.extension is not None:
        part["extension"] = found.extension


def unfinish(part: dict[str, Any], region: str | None) -> dict[str, Any]:
    """*part* for a source of *region*: its raw text, unless another number would be read from it there."""
    e164 = part.get("e164")
    if e164 is None or ("raw" in part and number(part["raw"], region).e164 == e164):
        return part
    extension = part.get("extension")
    return {**part, "raw": f"{e164} ext. {extension}" if extension else e164}
