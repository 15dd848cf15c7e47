"""The meaning of an error for a job: whether the job is tried again, the message for people, and the group. Pure."""

from __future__ import annotations

import hashlib
import traceback
from pathlib import Path
from typing import Literal, NamedTuple

import psycopg
from sqlalchemy.exc import DBAPIError

from medmirror import version
from medmirror.db import refusals, retry
from medmirror.errors import (
    AuthenticationFailed,
    MedmirrorError,
    RecordError,
    RemoteRefused,
    StoreError,
    StoreUnavailable,
    UsageError,
)

Way = Literal["put off", "again", "given up"]
Class = Literal[1, 2, 3]

THIRD_PARTY: Class = 1  #: the other side failed, or could not be reached
BAD_DATA: Class = 2  #: the other side refuses our data, or we refuse its data; or a mistake of ours
ACCOUNT: Class = 3  #: the key, the permissions, the settings of the connection

_LONGEST = 600  # characters of a message
_ROOT = Path(version.__file__).parent


class Failure(NamedTuple):
    """An error as it is written to a job's row.

    *way*: the job is put off without fault, tried again, or given up at once; *wait*: the seconds that the error asks
    for; *message*: in our own words, never a value of a record; *number*: the class.
    """

    way: Way
    error: str
    message: str
    status: int | None
    wait: float | None
    number: Class


def failure_of(error: BaseException) -> Failure:
    """Return what *error* means for the job that it ended."""
    if isinstance(error, DBAPIError | psycopg.Error):
        error = _of_database(error)
    name = type(error).__name__
    if not isinstance(error, MedmirrorError):
        return Failure("given up", name, f"An unexpected {name}{_place(error)}.", None, None, BAD_DATA)
    if isinstance(error, RecordError) and isinstance(reject_kind := error.context.get("kind"), str):
        name = reject_kind  # one cause for records that are not well formed, another for those without a key
    course: Way = "put off" if error.put_off else "again" if error.transient else "given up"
    status, wait = error.context.get("status"), error.context.get("wait")
    status_number = status if isinstance(status, int) else None
    seconds = float(wait) if isinstance(wait, int | float) else None
    return Failure(course, name, str(error)[:_LONGEST], status_number, seconds, class_of(error))


def class_of(error: BaseException) -> Class:
    """Return the class of *error* (1, 2 or 3): who has to act."""
    status = error.context.get("status") if isinstance(error, MedmirrorError) else None
    if isinstance(error, AuthenticationFailed | UsageError) or status in (401, 403):
        return ACCOUNT
    if isinstance(status, int) and status >= 500:
        return THIRD_PARTY
    if isinstance(error, RemoteRefused):
        return BAD_DATA
    return THIRD_PARTY if isinstance(error, MedmirrorError) and error.transient else BAD_DATA


def fingerprint_of(error: str, status: int | None, source: str, feed: str | None) -> str:
    """Return 12 hexadecimal digits, the same for failures of one cause; no record or organisation goes into them."""
    text = "\x1f".join((error, str(status or ""), source, feed or ""))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _of_database(error: DBAPIError | psycopg.Error) -> StoreError:
    """Return our own error for *error*, without the text of the database, which may quote a row."""
    if retry.is_lost_race(error):
        return StoreUnavailable(sqlstate=retry.sqlstate_of(error))
    if retry.is_lost_connection(error):
        return refusals.of_connection(error, sqlstate=retry.sqlstate_of(error))
    return refusals.of_statement(error)


def _place(error: BaseException) -> str:
    """Return the place in medmirror where *error* was raised: file and line, never a value of a record."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(_ROOT):
            return f" at {path.relative_to(_ROOT)}:{frame.lineno}"
    return ""
