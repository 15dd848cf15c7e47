"""Countries by their ISO 3166 alpha-2 codes, and the derived fields of a canonical address."""

from __future__ import annotations

import tomllib
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any


def _text() -> str:
    return files("medmirror.mapping").joinpath("countries.toml").read_text(encoding="utf-8")


@cache
def data_version() -> str:
    """A digest of the list of countries."""
    return sha256(_text().encode()).hexdigest()[:16]


@cache
def _names() -> dict[str, str]:
    return {_plain(name): code for code, names in tomllib.loads(_text()).items() for name in (code, *names)}


def _plain(name: str) -> str:
    return " ".join(name.replace(".", "").casefold().split()).removeprefix("the ")


@cache
def _countries() -> dict[str, str | None]:
    """The cache of ``country``: a clinic's patients come from few countries."""
    return {}


def country(text: str) -> str | None:
    """The alpha-2 code of the country that *text* names (a code or an English name), or None."""
    cache = _countries()
    if text not in cache:
        if len(cache) > 10_000:
            cache.clear()
        cache[text] = _names().get(_plain(text))
    return cache[text]


def finish(part: dict[str, Any]) -> None:
    """Add the country's code to *part*, an address, when its text names one."""
    text = part.get("country_text")
    if text is not None and (code := country(text)) is not None:
        part["country"] = code


def unfinish(part: dict[str, Any]) -> dict[str, Any]:
    """*part* for a source that wants the country in its own words; the code takes their place when they are absent."""
    if "country" in part and "country_text" not in part:
        return {**part, "country_text": part["country"]}
    return part
