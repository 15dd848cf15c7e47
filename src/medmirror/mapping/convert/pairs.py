"""Converters: pairs of functions, up to the canonical value and down to the source's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from medmirror.mapping.convert.scope import Scope
from medmirror.mapping.schema.kinds import Field

Function = Callable[[Any, Scope], Any]


class Pair(NamedTuple):
    """*up*: source value to canonical value, None for none; *down*: back. *whole*: of all values of a rule at once."""

    up: Function
    down: Function
    whole: bool = False


class Converter(NamedTuple):
    """A converter: the kinds of field it makes, the options it takes, and the function that builds its Pair.

    Raise *version* when the same value gets another result.
    """

    kinds: frozenset[str]
    options: frozenset[str]
    build: Callable[[Mapping[str, Any], Field], Pair]
    version: int = 1


def text_of(value: Any) -> str:
    """A scalar of JSON as text; a Decimal counts as a number. Raises ValueError for an object, an array, NaN or
    infinity."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or (isinstance(value, float | Decimal) and math.isfinite(value)):
        return str(value)
    raise ValueError("no scalar")


def same(value: Any, scope: Scope) -> Any:
    """*value*."""
    return value


def words(option: Any) -> tuple[str, ...]:
    """An option that is one text or several."""
    return (option,) if isinstance(option, str) else tuple(map(str, option or ()))
