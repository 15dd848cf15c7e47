"""Telephone numbers: E.164, extension and validity, with the results of the package ``phonenumbers``.

The package takes a tenth of a second to import, and 30 us for a number. Nearly all numbers are written plainly and are
valid in the country that comes first for their calling code; this module parses those itself, by the package's own
patterns, in a tenth of the time. All others go to the package. A test compares both on variants of the examples of
every country.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from importlib.metadata import version
from typing import Any, NamedTuple

_PLAIN = re.compile(r"\+?[\d ().-]+", re.ASCII)
_NO_DIGIT = re.compile(r"\D+")
_TYPES = (
    "fixed_line", "mobile", "toll_free", "premium_rate", "shared_cost", "personal_number", "voip", "pager", "uan",
    "voicemail",
)  # fmt: skip


class Number(NamedTuple):
    """A parsed telephone number. *e164* is None when the text cannot be a number of its country."""

    e164: str | None
    extension: str | None


class _Plan(NamedTuple):
    """A country's numbers: its calling *code*, what all numbers look like (*general*), what those of each type do
    (*valid*), and what is dialled before them at home (*prefix*) and to go abroad (*abroad*)."""

    code: str
    general: re.Pattern[str]
    valid: re.Pattern[str]
    prefix: re.Pattern[str]
    abroad: re.Pattern[str]


@cache
def data_version() -> str:
    """The version of the numbering plans: with another one, other numbers may be valid."""
    return version("phonenumbers")


@cache
def _plan(region: str) -> _Plan | None:
    """The plan of *region*; None when it is not simple: shared with regions that come first, or numbers rewritten."""
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata

    metadata = PhoneMetadata.metadata_for_region(region, None)
    if metadata is None or metadata.leading_digits or metadata.national_prefix_transform_rule:
        return None
    general = metadata.general_desc
    if general is None or metadata.country_code is None or not general.national_number_pattern:
        return None
    if COUNTRY_CODE_TO_REGION_CODE[metadata.country_code][0] != region:
        return None
    types = [kind for name in _TYPES if (kind := getattr(metadata, name)) is not None and kind.national_number_pattern]
    # A pattern alone is not enough: each type tells how long its numbers may be.
    valid = "|".join(rf"(?={_lengths(kind, general)}\Z)(?:{kind.national_number_pattern})" for kind in types)
    return _Plan(
        str(metadata.country_code),
        re.compile(general.national_number_pattern),
        re.compile(valid or r"(?!)"),
        re.compile(metadata.national_prefix_for_parsing or r"(?!)"),
        re.compile(metadata.international_prefix or r"(?!)"),
    )


def _lengths(kind: Any, general: Any) -> str:
    allowed = set(kind.possible_length or general.possible_length) & set(general.possible_length)
    return "(?:" + "|".join(rf"\d{{{length}}}" for length in sorted(allowed)) + ")"


@cache
def _region_of() -> dict[str, str]:
    """Calling code to the region that comes first among those that share it."""
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

    return {str(code): regions[0] for code, regions in COUNTRY_CODE_TO_REGION_CODE.items()}


def _plain(text: str, region: str | None) -> str | None:
    """*text* in E.164 when it is plain and surely valid; None when only the package can decide."""
    if _PLAIN.fullmatch(text) is None:
        return None
    digits = _NO_DIGIT.sub("", text)
    if text[0] == "+":
        codes = _region_of()
        code = next((digits[:length] for length in (1, 2, 3) if digits[:length] in codes), None)
        plan = None if code is None else _plan(codes[code])
        if plan is None:
            return None
        digits = digits[len(plan.code) :]
    else:
        plan = None if region is None else _plan(region)
        if plan is None or digits.startswith(plan.code) or plan.abroad.match(digits):
            return None
    national = digits
    if match := plan.prefix.match(digits):
        national = digits[match.end() :]
        if plan.general.fullmatch(digits) and not plan.general.fullmatch(national):
            national = digits
    if national[:1] == "0" or not plan.general.fullmatch(national) or not plan.valid.fullmatch(national):
        return None
    return f"+{plan.code}{national}"


def number(text: str, region: str | None) -> Number:
    """*text* as a number, read as one dials within *region* (alpha-2) when it names no country."""
    plain = _plain(text, region)
    return _parsed(text, region) if plain is None else Number(plain, None)


@lru_cache(maxsize=4096)
def _parsed(text: str, region: str | None) -> Number:
    import phonenumbers

    try:
        parsed = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return Number(None, None)
    valid = phonenumbers.is_valid_number(parsed)
    e164 = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164) if valid else None
    return Number(e164, parsed.extension or None)


def finish(part: dict[str, Any], region: str | None) -> None:
    """Add the fields to *part*, a phone, that follow from its raw text: e164, valid, extension."""
    raw = part.get("raw")
    parsed = number(raw, region) if raw is not None else Number(None, None)
    part["e164"] = parsed.e164
    part["valid"] = parsed.e164 is not None
    if parsed.extension is not None:
        part["extension"] = parsed.extension


def unfinish(part: dict[str, Any], region: str | None) -> dict[str, Any]:
    """*part* for a source of *region*: its raw text, unless another number would be read from it there."""
    e164 = part.get("e164")
    if e164 is None or ("raw" in part and number(part["raw"], region).e164 == e164):
        return part
    extension = part.get("extension")
    return {**part, "raw": f"{e164} ext. {extension}" if extension else e164}
