"""Requests to a remote over HTTP: who may be asked, what is tried again, what an answer means as an error.

**Where a key goes.** To the origin of the remote's address and nowhere else: a link that leads elsewhere is refused,
and so is a redirect. TLS is verified; http:// is for this machine alone. Proxies of the environment are used, since
clinics sit behind them and TLS is verified through them; never for this machine. ``.netrc`` is not read.

**What is tried again.** What another try cannot do twice (GET), when it broke off or met a 5xx: a few short tries with
full jitter. Anything else goes up: the job is what waits for long.

**What is said.** Neither a query, nor a header, nor a body, nor the id in a path, in any error or log line.
"""

from __future__ import annotations

import random
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO
from urllib.parse import urlencode, urljoin, urlsplit

import orjson

from medmirror.errors import (
    AuthenticationFailed,
    RateLimited,
    RemoteRefused,
    RemoteUnavailable,
    SyncError,
)
from medmirror.remotes.base import Around, Secret
from medmirror.remotes.http import disk as httpdisk
from medmirror.remotes.http import send as httpsend
from medmirror.remotes.http.answer import Answer, base, loopback, origin
from medmirror.remotes.http.limits import wait_of

Headers = Callable[[], Mapping[str, str]]
Params = Sequence[tuple[str, str]]

USER_AGENT = "medmirror"
TRIES = 3
_BASE, _CAP = 0.5, 4.0  # seconds between two tries, at most: together less than ten
_MOST = 256 << 20  # bytes of a body that is held in memory
_HOPS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


def basic(user: Secret, password: str = "") -> Headers:
    """The headers of HTTP Basic authentication; made anew for each request, kept nowhere."""
    return lambda: {"Authorization": "Basic " + b64encode(f"{user.reveal()}:{password}".encode()).decode()}


def bearer(token: Secret) -> Headers:
    """The headers of a bearer token."""
    return lambda: {"Authorization": f"Bearer {token.reveal()}"}


class Http:
    """Requests below *url* with *auth*'s headers; not shared between threads. Its repr names no key.

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
    ) -> None:
        self._base = base(url.rstrip("/"))
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
        *,
        kept: str | None = None,
        redirects: bool = False,
    ) -> Answer:
        """The answer to GET *address*: a path below the base, or a link of the remote's own.

        *kept* names what an earlier answer was kept as (``keep``): when that is still right the answer has status 304
        and no body. *redirects*: follow those within the remote, where it is documented to give them.
        """
        sent = {**(headers or {}), **self._validators(kept)}
        for _ in range(_HOPS if redirects else 1):
            answer = self._send("GET", address, params, sent, None)
            if answer.status not in _REDIRECTS:
                return answer
            address, params = urljoin(self.address(address), answer.headers.get("location", "")), ()
        raise RemoteRefused(
            "The remote sends us elsewhere; that is not followed.", status=answer.status, path=answer.path
        )

    def post(self, address: str, json: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """The answer to POST *json*. Never tried again by itself once it may have been sent."""
        return self._write("POST", address, json, headers)

    def patch(self, address: str, json: Any, headers: Mapping[str, str] | None = None) -> Answer:
        """The answer to PATCH *json*; as ``post``."""
        return self._write("PATCH", address, json, headers)

    def put(self, address: str, json: Any, headers: Mapping[str, str] | None = None) -> Answer:
        """The answer to PUT *json*; as ``post``."""
        return self._write("PUT", address, json, headers)

    def delete(self, address: str, headers: Mapping[str, str] | None = None) -> Answer:
        """The answer to DELETE; as ``post``."""
        return self._write("DELETE", address, None, headers)

    def form(self, address: str, fields: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Answer:
        """The answer to POST *fields* as a form (a token endpoint); as ``post``."""
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._plain(self._send("POST", address, (), {**(headers or {}), **kind}, urlencode(fields).encode()))

    def download(
        self, address: str, out: BinaryIO, headers: Mapping[str, str] | None = None, *, abroad: bool = False
    ) -> Answer:
        """GET *address* into *out*, however large; the answer has no body. What broke off is begun again, *out* cut
        to where it stood. *abroad*: it may be of another https origin, which gets no key. SyncError when the disk is
        nearly full."""
        start = out.tell()

        def into(pieces: Iterator[bytes]) -> bytes:
            out.seek(start)
            out.truncate()
            httpdisk.write(pieces, out)
            return b""

        return self._plain(self._send("GET", address, (), headers or {}, None, into=into, abroad=abroad))

    def keep(self, name: str, answer: Answer) -> None:
        """Keep what *answer* says of its version as *name*, for ``get(kept=name)``. Only after its body is stored: a
        later "not modified" means that the body is not sent again."""
        validators = {key: answer.headers[key] for key in ("etag", "last-modified") if key in answer.headers}
        self._around.notes.set(f"http:{name}", orjson.dumps(validators).decode() if validators else None)

    def address(self, path_or_link: str, abroad: bool = False) -> str:
        """The whole URL: of a path below the base, or of a link, which must be of the same origin (or *abroad*)."""
        if "://" not in path_or_link:
            return f"{self._base.geturl()}/{path_or_link.lstrip('/')}"
        try:
            parts = urlsplit(path_or_link)
            same = origin(parts) == origin(self._base)
        except ValueError:
            same = False
        if same and not parts.username and not parts.password:
            return path_or_link
        if abroad and parts.scheme == "https" and not parts.username:
            return path_or_link
        raise RemoteRefused("The remote's link leads to another place; it is not followed.")

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

    def _validators(self, kept: str | None) -> dict[str, str]:
        text = self._around.notes.get(f"http:{kept}") if kept else None
        names = {"etag": "If-None-Match", "last-modified": "If-Modified-Since"}
        return {names[key]: value for key, value in orjson.loads(text).items()} if text else {}

    def _send(
        self,
        method: str,
        address: str,
        params: Params,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        into: Callable[[Iterator[bytes]], bytes] | None = None,
        abroad: bool = False,
    ) -> Answer:
        url = self.address(address, abroad)
        if params:
            url += ("&" if urlsplit(url).query else "?") + urlencode(params)
        own = origin(urlsplit(url)) == origin(self._base)
        for attempt in range(TRIES):
            sent = {**self._headers, **(self._auth() if own else {}), **headers}
            self._around.permit()
            outcome, begun = httpsend.once(self._client, method, url, sent, body, self._most, into)
            self._around.called(outcome.status if isinstance(outcome, Answer) else 0)
            error = self._error(outcome) if isinstance(outcome, Answer) else outcome
            if isinstance(outcome, Answer) and error is None:
                return outcome
            assert error is not None
            again = method in ("GET", "HEAD") or not begun
            if not isinstance(error, RemoteUnavailable) or not again or attempt + 1 == TRIES:
                raise error
            self._around.sleep(self._random.uniform(0.0, min(_CAP, _BASE * 2**attempt)))
        raise AssertionError("a try ends with an answer or an error")

    def _error(self, answer: Answer) -> SyncError | None:
        status, path = answer.status, answer.path
        if status == 429:
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
