"""Cliniko, a practice-management system, over its API.

Times are those of ``updated_at``, which Cliniko gives in whole seconds, so a position's time is one. Archived and
cancelled records come in the same list as the others; practitioners who have left have a list of their own, which is
read before that of the others. Deleted records are in lists of their own: an entry of that of patients has no more than
``deleted_at`` and a link. A patient who was merged into another one is archived, with ``merged_with_patient``.

**Writes.** Cliniko knows no conditional write and no idempotency key. A change is written after a look at the record:
what was changed between the look and the write, less than a second, is overwritten. A new record is noted before it is
sent; after a write whose answer was lost, what was made since then is looked through for it, so it is not made twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from medmirror.errors import RemoteUnavailable, UsageError
from medmirror.remotes.base import MICROSECOND, Around, Capabilities, Kind, Page, Position, Pushed, Secret
from medmirror.remotes.cliniko import listing as clinikolist
from medmirror.remotes.cliniko import write as clinikowrite
from medmirror.remotes.cliniko.listing import Answered, Listing
from medmirror.remotes.http.client import Http, basic
from medmirror.sources.cliniko import page_context

_ARCHIVED, _CANCELLED = "archived_at:*", "cancelled_at:*"
_CHANGED: Mapping[str, tuple[Listing, ...]] = {  # referenced ones first
    "business": (Listing("businesses", "businesses"),),
    "practitioner": (Listing("practitioners/inactive", "practitioners"), Listing("practitioners", "practitioners")),
    "appointment_type": (Listing("appointment_types", "appointment_types"),),
    "patient": (Listing("patients", "patients", including=(_ARCHIVED,)),),
    "appointment": (Listing("individual_appointments", "individual_appointments", including=(_ARCHIVED, _CANCELLED)),),
    "attachment": (Listing("patient_attachments", "patient_attachments"),),
    "invoice": (Listing("invoices", "invoices"),),
}
_SHORT = ("business", "appointment_type")  # lists of a few records that hardly change
_USUAL = ("business", "practitioner", "appointment_type", "patient", "appointment")
_DELETED: Mapping[str, Listing] = {
    name: Listing(f"{path}/deleted", path, "deleted_at")
    for name, path in (("patient", "patients"), ("appointment", "individual_appointments"), ("invoice", "invoices"))
}
_WRITTEN = ("patient", "appointment")
_SHARD = re.compile(r"\w{2}\d{1,2}", re.ASCII)
_AGENT = re.compile(r"[^()\r\n]*[^()\s][^()\r\n]*\([^@\s()]+@[^@\s()]+\.[^@\s()]+\)", re.ASCII)


class Cliniko:
    """One account (see ``base.Remote``)."""

    source = "cliniko"

    def __init__(self, http: Http, around: Around, feeds: tuple[str, ...]) -> None:
        self._http = http
        self._around = around
        self._capabilities = Capabilities(
            feeds,
            deleted=tuple(name for name in feeds if name in _DELETED),
            windowed=tuple(name for name in feeds if name == "appointment"),
            push=tuple(name for name in feeds if name in _WRITTEN),
            get=True,
        )
        self._first: tuple[str, Answered] | None = None
        self._pages = 0

    def __repr__(self) -> str:
        return f"Cliniko({self._http!r})"

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        return self._capabilities

    def close(self) -> None:
        """End its connections."""
        self._http.close()

    def now(self) -> int:
        """The time by Cliniko's clock, in whole seconds.

        To read a clock costs a request. This one asks for the first list, which is short and rarely changes; if it has
        nothing new, ``changed`` need not ask for it again.
        """
        feed = self._capabilities.feeds[0]
        answered = clinikolist.whole(self._http, _CHANGED[feed if feed in _SHORT else _SHORT[0]][-1])
        if answered.answer.date is None:
            raise RemoteUnavailable("The remote does not say what time it is.", path=answered.answer.path)
        is_all = feed in _SHORT and answered.following is None and len(answered.ids) == answered.total
        self._first = (feed, answered) if is_all else None
        return answered.answer.date

    def changed(self, feed: str, since: Position, until: int) -> Iterator[Page]:
        """Every record of *feed* changed in [*since*, *until*], by time of change (see ``base.Remote``).

        Costs one request a hundred records, and one when there are none.
        """
        low, high = since.time // MICROSECOND, until // MICROSECOND + 1
        (name, first), self._first = self._first or ("", None), None
        if first is not None and name == feed:
            inside = [low <= time < high for time in first.times]
            if any(inside) and all(inside):
                yield self._page(feed, self._listings(feed)[0], first, clinikolist.reached(first))
            if all(inside) or not any(inside):
                return
        *others, last = self._listings(feed)
        for listing in others:
            for answered, _ in clinikolist.walk(self._http, listing, low, high):
                yield self._page(feed, listing, answered, None)
        for answered, upto in clinikolist.walk(self._http, last, low, high):
            yield self._page(feed, last, answered, upto)

    def window(self, feed: str, start: datetime, end: datetime) -> Iterator[Page]:
        """Every appointment that begins in [*start*, *end*), cancelled and archived ones too."""
        if feed not in self._capabilities.windowed:
            raise UsageError(f"Cliniko's {feed} list has no window.")
        listing = self._listings(feed)[0]._replace(time="starts_at")
        low, high = int(start.timestamp()), -int(-end.timestamp() // 1)
        for answered, _ in clinikolist.walk(self._http, listing, low, high):
            yield self._page(feed, listing, answered, None)

    def deleted(self, feed: str, since: int, until: int) -> Iterator[Page]:
        """What was deleted in [*since*, *until*], by when it was."""
        if feed not in self._capabilities.deleted:
            raise UsageError(f"Cliniko has no list of what was deleted of {feed}.")
        listing = _DELETED[feed]
        answers = clinikolist.walk(self._http, listing, since // MICROSECOND, until // MICROSECOND + 1)
        for answered, upto in answers:
            yield self._page(feed, listing, answered, upto)

    def get(self, feed: str, id: str) -> Page | None:
        """The record *id* as a page of one; None: there is none (any more)."""
        listing = self._listings(feed)[-1]
        answer = clinikowrite.one(self._http, listing, id)
        return None if answer is None else Page(feed, f"cliniko:/v1/{listing.path}/*", answer.body, 1)

    def push(
        self, feed: str, document: Mapping[str, Any], *, id: str | None, expected: str | None, idempotency_key: str
    ) -> Pushed:
        """Write *document*, in the form that the API reads it or writes it, as record *id*, if its ``updated_at`` is
        still *expected* (None: whatever it is). What the API does not let be written is left out; a ``cancelled_at``
        cancels an appointment."""
        if feed not in self._capabilities.push:
            raise UsageError(f"Cliniko's {feed} records cannot be written.")
        writer = clinikowrite.Writer(self._http, self._around, self._listings(feed)[0], feed)
        return writer.push(document, id, expected, idempotency_key)

    def _listings(self, feed: str) -> tuple[Listing, ...]:
        if feed not in self._capabilities.feeds:
            raise UsageError(f"There is no feed {feed} here; there are {', '.join(self._capabilities.feeds)}.")
        return _CHANGED[feed]

    def _page(self, feed: str, listing: Listing, answered: Answered, upto: Position | None) -> Page:
        self._pages += 1
        name = f"cliniko:/v1/{listing.path}?sort={listing.time}#{self._pages}"
        context = page_context(listing.array, answered.around, name)  # else the source would parse the page for it
        return Page(feed, name, answered.answer.body, len(answered.ids), upto, context)


def shard(key: str) -> str:
    """The shard that *key* names after its last hyphen; au1 when it names none."""
    _, hyphen, suffix = key.rpartition("-")
    return suffix if hyphen and _SHARD.fullmatch(suffix) else "au1"


def open_remote(organization: str, settings: Mapping[str, Any], secret: Secret | None, around: Around) -> Cliniko:
    """The account of *organization*. Raises UsageError when the settings will not do."""
    if secret is None:
        raise UsageError(f"Cliniko needs an API key for {organization}: say where it is with --secret env:NAME.")
    if unknown := settings.keys() - SETTINGS.keys():
        raise UsageError(f"Cliniko has no setting {sorted(unknown)[0]!r}; there are {', '.join(SETTINGS)}.")
    agent = settings.get("user_agent")
    if not isinstance(agent, str) or not _AGENT.fullmatch(agent):
        raise UsageError("Cliniko wants to know whom to write to: set user_agent to 'Our clinic (it@example.org)'.")
    asked = settings.get("feeds", _USUAL)
    if not isinstance(asked, (list, tuple)) or not asked or set(map(str, asked)) - set(_CHANGED):
        raise UsageError(f"Cliniko's feeds are a list of some of: {', '.join(_CHANGED)}.")
    url = settings.get("url") or f"https://api.{shard(secret.reveal())}.cliniko.com/v1"
    http = Http(str(url), around, auth=basic(secret), user_agent=agent)
    return Cliniko(http, around, tuple(name for name in _CHANGED if name in asked))


SETTINGS: Mapping[str, str] = {
    "user_agent": "who asks, with a contact address, as Cliniko demands: Our clinic (it@example.org)",
    "feeds": f"the lists to read, some of {', '.join(_CHANGED)}; without it {', '.join(_USUAL)}",
    "url": "the address of the API; without it that of the shard that the key names",
}

REMOTE = Kind("cliniko", SETTINGS, open_remote, windows=((200, 60), (5000, 3600)))
