"""ISO 8601 as sources write it: what ``datetime`` reads, and 24:00 for the end of a day."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_END_OF_DAY = re.compile(r"(.{8,10}[T ])24((?::?00){0,2}(?:[.,]0+)?)((?:Z|z|[+-][0-9:]+)?)", re.ASCII)


def moment(text: str) -> datetime:
    """The moment that the ISO text *text* names; 24:00 is the next day's midnight.

    Raises
    ------
    ValueError
        It is no such text, or there is no such time.
    """
    match = _END_OF_DAY.fullmatch(text)
    if match is None:
        return datetime.fromisoformat(text)
    try:
        return datetime.fromisoformat(f"{match[1]}00{match[2]}{match[3]}") + timedelta(days=1)
    except OverflowError:
        raise ValueError("no day of this calendar") from None
