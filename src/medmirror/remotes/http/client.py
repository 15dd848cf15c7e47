"""Requests to a remote over HTTP: who may be asked, what is tried again, what an answer means as an error.

**Where a key goes.** To the origin of the remote's address and nowhere else: a link that leads elsewhere is refused,
and so is a redirect. TLS is verified; http:// is for this machine alone. Proxies of the environment are used, since
clinics sit behind them and TLS is verified through them; never for this machine. ``.netrc`` is not read.

**What is tried again.** What another try cannot do twice (GET), when it broke off or met a 5xx: a few short tries with
full jitter. A download goes on where it broke off, for as long as each few tries bring it further. Anything else goes
up: the job is what waits for long. Whoever has no job says so with ``Patience``.

**What is said.** Neither a query, nor a header, nor a body, nor the id in a path, in any error or log line.
"""

from __future__ import annotations

import logging
import random
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable
from urllib.parse import SplitResult, urlencode, urlsplit

import orjson

from medmirror.errors import (
    AuthenticationFailed,
    RateLimited,
    RemoteRefused,
    RemoteUnavailable,
    SyncError,
)
from medmirror.remotes.base import Around, Secret
from medmirror.remotes.http import send as httpsend
from medmirror.remotes.http.answer import Answer, base, loopback, origin, shown, wait_of
from medmirror.remotes.http.download import FILE, Download

Headers = Callable[[], Mapping[str, str]]
Params = Sequence[tuple[str, str]]


@runtime_checkable
class Renewable(Protocol):
    """Headers whose token can be had anew: once, when a request is answered with 401."""

    def __call__(self) -> Mapping[str, str]:
        """Those of one request."""

    def forget(self) -> None:
        """Take a new token for the next one."""


_log = logging.getLogger(__name__)

USER_AGENT = "medmirror"
TRIES = 3
_DOWNLOAD_TRIES = 6  # without a single new byte between them
_MOST = 256 << 20  # bytes of a body that is held in memory
_UNAUTHORIZED = 401
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Patience(NamedTuple):
    """How long a request is gone on with here, in seconds: *tries*, with waits from *base* to *cap* between them.

    *limit*: the longest wait that a remote may ask for and is given here, where a 503 that says when to come again is
    such a limit, too; 0: every limit goes up. *body*: how long one body may take; None: ten minutes.
    """

    tries: int = TRIES
    base: float = 0.5
    cap: float = 4.0
    limit: float = 0.0
    body: float | None = None


_PATIENCE = Patience()


def basic(user: Secret) -> Headers:
    """The headers of HTTP Basic authentication with no password; made anew for each request, kept nowhere."""
    return lambda: {"Authorization": "Basic " + b64encode(f"{user.reveal()}:".encode()).decode()}


def bearer(token: Secret) -> Headers:
    """The headers of a bearer token."""
    return lambda: {"Authorization": f"Bearer {token.reveal()}"}


class Http:
    """Requests below *url* with *auth*'s headers; not shared between threads. Its repr names no key.

    *others* are addresses whose origins are the remote's own, too. *public*: its paths name nobody, and errors show
    them as they are.

    Errors of every request: RateLimited (context *wait*), AuthenticationFailed (401, 403), RemoteRefused (other 4xx,
    redirects), RemoteUnavailable (5xx, no answer, half an answer); and what *around*'s permit raises.
    """

    def __init__(
        self,
        url: str,
        around: Around,
        *,
        auth: Headers | None = None,
        user_agent: str = USER_AGENT,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        most: int = _MOST,
        others: Sequence[str] = (),
        public: bool = False,
        patience: Patience = _PATIENCE,
    ) -> None:
        self._base = base(url.rstrip("/"))
        self._origins = {origin(self._base), *(origin(base(other)) for other in others)}
        self._shown = str if public else shown
        self._patience = patience
        self._around = around
        self._auth = auth or dict
        self._headers = {"User-Agent": user_agent, "Accept": "application/json", **(headers or {})}
        self._most = most
        self._random = random.Random()
        self._client = httpsend.client(timeout, proxies=not loopback(self._base.hostname or ""))

    def __repr__(self) -> str:
        return f"Http({self._base.scheme}://{self._base.netloc})"

    def close(self) -> None:
        """End its connections."""
        self._client.close()

    def get(
        self,
        address: str,
        params: Params = (),
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """The answer to GET *address*: a path below the base, or a link of the remote's own."""
        return self._plain(self._send("GET", address, params, headers or {}, None))

    def post(self, address: str, json: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """The answer to POST *json*. Never tried again by itself once it may have been sent."""
        return self._write("POST", address, json, headers)

    def patch(self, address: str, json: Any) -> Answer:
        """The answer to PATCH *json*; as ``post``."""
        return self._write("PATCH", address, json, None)

    def put(self, address: str, json: Any, headers: Mapping[str, str] | None = None) -> Answer:
        """The answer to PUT *json*; as ``post``."""
        return self._write("PUT", address, json, headers)

    def delete(self, address: str, headers: Mapping[str, str] | None = None) -> Answer:
        """The answer to DELETE; as ``post``."""
        return self._write("DELETE", address, None, headers)

    def form(self, address: str, fields: Mapping[str, str]) -> Answer:
        """The answer to POST *fields* as a form (a token endpoint); as ``post``."""
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._plain(self._send("POST", address, (), kind, urlencode(fields).encode()))

    def download(
        self, address: str, download: Download, headers: Mapping[str, str] | None = None, *, abroad: bool = False
    ) -> Answer:
        """GET *address* into *download*, however large; the answer has no body. What breaks off is gone on with.

        *abroad*: it may be of another https origin, which gets no key. SyncError when the disk is nearly full.
        """
        answer = self._plain(self._send("GET", address, (), headers or {}, None, download=download, abroad=abroad))
        if answer.status not in FILE:
            raise RemoteRefused("The remote's answer is no file.", status=answer.status, path=answer.path)
        return answer

    def address(self, path_or_link: str, abroad: bool = False) -> str:
        """The whole URL: of a path below the base, or of a link, which must be of the same origin (or *abroad*)."""
        if "://" not in path_or_link:
            return f"{self._base.geturl()}/{path_or_link.lstrip('/')}"
        if self.is_own(path_or_link):
            return path_or_link
        parts = urlsplit(path_or_link) if abroad else SplitResult("", "", "", "", "")
        if abroad and parts.scheme == "https" and not parts.username:
            return path_or_link
        raise RemoteRefused("The remote's link leads to another place; it is not followed.")

    def is_own(self, url: str) -> bool:
        """Whether the whole *url* is of the remote's own origin, and names no user."""
        try:
            parts = urlsplit(url)
            return origin(parts) in self._origins and not parts.username and not parts.password
        except ValueError:
            return False

    # --- one request

    def _write(self, method: str, address: str, json: Any, headers: Mapping[str, str] | None) -> Answer:
        body = None if json is None else orjson.dumps(json)
        kind = {} if body is None else {"Content-Type": "application/json"}
        return self._plain(self._send(method, address, (), {**kind, **(headers or {})}, body))

    def _plain(self, answer: Answer) -> Answer:
        if answer.status in _REDIRECTS:
            raise RemoteRefused(
                "The remote sends us elsewhere; that is not followed.", status=answer.status, path=answer.path
            )
        return answer

    def _send(
        self,
        method: str,
        address: str,
        params: Params,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        download: Download | None = None,
        abroad: bool = False,
    ) -> Answer:
        url = self.address(address, abroad)
        if params:
            url += ("&" if urlsplit(url).query else "?") + urlencode(params)
        own = origin(urlsplit(url)) == origin(self._base)
        path, longest = self._shown(urlsplit(url).path), self._patience.body
        failures = 0
        anew = isinstance(self._auth, Renewable) and own
        while True:
            rest = download.headers() if download else {}
            sent = {**self._headers, **(self._auth() if own else {}), **headers, **rest}
            self._around.permit()
            outcome, begun = httpsend.once(
                self._client, method, url, sent, body, self._most, download, path=path, longest=longest
            )
            self._around.called(outcome.status if isinstance(outcome, Answer) else 0)
            error = self._error(outcome, download) if isinstance(outcome, Answer) else outcome
            if isinstance(outcome, Answer) and error is None:
                return outcome
            assert error is not None
            if anew and isinstance(outcome, Answer) and outcome.status == _UNAUTHORIZED:
                anew = False  # the server has ended it before its time; what it refuses it has not done
                assert isinstance(self._auth, Renewable)
                self._auth.forget()
                continue
            if begun and method not in ("GET", "HEAD"):
                raise error
            if download and download.is_further():
                failures = 0
            self._wait(error, failures, _DOWNLOAD_TRIES if download else self._patience.tries)
            failures += 1

    def _wait(self, error: SyncError, failures: int, tries: int) -> None:
        """Wait as long as *error* asks for, after as many *failures* before it. Raise it when another try is in
        vain."""
        wait = self._random.uniform(0.0, min(self._patience.cap, self._patience.base * 2**failures))
        if isinstance(error, RateLimited):
            wait = float(error.context["wait"])
            if wait > self._patience.limit:
                raise error
        elif not isinstance(error, RemoteUnavailable):
            raise error
        if failures + 1 >= tries:
            raise error
        _log.warning("%s: trying again in %.1f s", type(error).__name__, wait)
        self._around.sleep(wait)

    def _error(self, answer: Answer, download: Download | None) -> SyncError | None:
        status, path = answer.status, answer.path
        if status == 416 and download and download.drop():
            return RemoteUnavailable(status=status, path=path, reason="the part that was here was of another version")
        if status == 429 or (status == 503 and self._patience.limit and "retry-after" in answer.headers):
            wait = wait_of(answer.headers)
            self._around.limited(wait)
            return RateLimited(wait=wait, path=path)
        if status in (401, 403):
            return AuthenticationFailed(status=status, path=path)
        if status >= 500 or status == 408:
            return RemoteUnavailable(status=status, path=path)
        if status >= 400:
            return RemoteRefused(status=status, path=path)
        return None
