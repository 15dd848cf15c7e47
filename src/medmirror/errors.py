"""Every error of medmirror, as one tree.

The docstring of a class is its default message: what went wrong and what to do. ``context`` holds only values that are
safe in a log (file names, numbers, SQLSTATEs), never a value out of a record. Every class survives ``pickle``: an error
that cannot be unpickled in the parent takes the whole process pool with it.
"""

from __future__ import annotations

from typing import Any


class MedmirrorError(Exception):
    """medmirror could not go on."""

    transient = False  #: worth another try, unchanged
    put_off = False  #: delayed without fault: the job is done later, and nothing has failed
    exit_code = 1

    def __init__(self, message: str = "", **context: Any) -> None:
        self.message = message or " ".join((type(self).__doc__ or "").split())
        self.context = context
        super().__init__(self.message)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.context)

    def __str__(self) -> str:
        facts = ", ".join(f"{name}={value}" for name, value in self.context.items())
        return f"{self.message} ({facts})" if facts else self.message


def _rebuild(kind: type[MedmirrorError], message: str, context: dict[str, Any]) -> MedmirrorError:
    return kind(message, **context)


class UsageError(MedmirrorError):
    """A setting or an argument is wrong."""

    exit_code = 2


class SourceError(MedmirrorError):
    """The file is not what it claims to be; the rest of the run goes on."""


class TruncatedFile(SourceError):
    """The file ends before its own format says it should; fetch it again."""


class LayoutChanged(SourceError):
    """The file has a layout that this source does not know."""


class UnsafeFile(SourceError):
    """The file could harm the machine that reads it (evil path, absurd ratio, entity declarations); it was not
    opened."""


class UnreadableFile(SourceError):
    """The file cannot be opened; check that it exists and that this user may read it."""


class InputMissing(SourceError):
    """No file is where an input should be."""


class QueryRefused(SourceError):
    """The practice system's database refused a query; check that the tables and columns of the mapping exist and that
    the user may read them."""


class DatabaseLost(SourceError):
    """The practice system's database cannot be reached; check the URL, that the server runs and that the user may log
    in, then run the same command again."""


class RecordError(MedmirrorError):
    """One record cannot be loaded; its neighbours can."""


class ParseError(RecordError):
    """The record is not well formed."""


class InvalidRecord(RecordError):
    """The record is well formed but lacks or garbles what every record must have."""


class RecordTooLarge(RecordError):
    """The record is larger than MEDMIRROR_MAX_RECORD_BYTES; raise the setting and run `medmirror rejects retry`."""


class RefusedByDatabase(RecordError):
    """Postgres refused the record's values."""


class KillsWorker(RecordError):
    """The worker process died each time it met this record."""


class StoreError(MedmirrorError):
    """The database could not do what was asked."""


class LockRaceLost(StoreError):
    """Another transaction won a lock race (deadlock, serialisation failure or lock timeout) every time it was tried."""

    transient = True


class StoreUnavailable(StoreError):
    """The database cannot be reached; check the DSN and that the server runs, then run the same command again."""

    transient = True


class TransactionPooler(StoreError):
    """The DSN leads to a transaction pooler, which gives a session of the server to several programs in turn; name its
    session pool, or the server itself (port 5432)."""


class WrongEncoding(StoreError):
    """The database's encoding is not UTF8; make one with CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0."""


class SchemaOutOfDate(StoreError):
    """The database's tables were made by another version of medmirror."""


class EmbeddedServerError(StoreError):
    """The embedded Postgres could not be started."""


class NightlyRunning(MedmirrorError):
    """Another nightly runs in this database; wait until it has ended, or stop it."""

    exit_code = 4


class SyncError(MedmirrorError):
    """The synchronisation with a remote could not go on."""


class RemoteRefused(SyncError):
    """The remote refused a request; look at the status it gave, and at the settings of the organisation."""


class AuthenticationFailed(RemoteRefused):
    """The remote did not accept the key; check the organisation's secret, and connect it again."""


class RemoteUnavailable(SyncError):
    """The remote cannot be reached, or broke off in the middle; it is tried again by itself."""

    transient = True


class RateLimited(SyncError):
    """The remote takes no more requests for now; the job is delayed and has not failed."""

    transient = True  # context: wait, in seconds
    put_off = True


class StillPreparing(SyncError):
    """The remote is still preparing what was asked of it; the job is delayed and has not failed."""

    transient = True  # context: wait, in seconds
    put_off = True


class PageExpired(SyncError):
    """The remote forgot where in its list we were; the list is begun again from the watermark."""

    transient = True


class ListingIncomplete(SyncError):
    """The pages of a list do not add up to what the remote says it holds; the watermark stays where it is."""

    transient = True


class RemoteEmptied(SyncError):
    """A list that held records holds none now; if that is right, run `medmirror sync ORGANIZATION --allow-empty` (of a
    destination: its setting allow_empty)."""


class StaleWrite(SyncError):
    """The record was changed in the remote since it was read; nothing was written, the next sync plans it again."""


class SyncPaused(SyncError):
    """The organisation is paused; its job waits, and goes on after `medmirror organizations resume`."""

    put_off = True


class SettingsChanged(SyncError):
    """Where the organisation's system is was changed during the sync, which begins again there."""

    put_off = True


class SyncRunning(SyncError):
    """Another sync of this organisation runs; wait until it has ended."""

    exit_code = 4
    put_off = True
