"""How a FHIR server lets us in: not at all, by password, by a bearer token, or as a SMART backend service.

SMART backend services: the secret is our private key (PEM, RSA); a short-lived assertion signed with it (RS384) is
changed for an access token at the server's token endpoint, anew when that one ends.
"""

from __future__ import annotations

import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import orjson

from medmirror.clock import SYSTEM
from medmirror.errors import AuthenticationFailed, UsageError
from medmirror.remotes.base import Around, Secret
from medmirror.remotes.http.client import Headers, Http, bearer

SETTINGS: Mapping[str, str] = {
    "url": "the server's base URL, for example https://fhir.example.org/r4",
    "auth": "bearer (the secret is the token), basic (user:password), smart (a private key, PEM) or none",
    "token_url": "for smart: the server's token endpoint",
    "client_id": "for smart: what the server knows us as",
    "key_id": "for smart: kid of our key in the JWKS that the server has of us",
    "scope": "for smart: what we ask for; system/*.read",
}
"""The settings of both kinds of FHIR remote that say where it is and how it is entered."""

_LIFE = 300  # seconds that an assertion is good for; the standard allows no more
_DAY = 86_400.0
_EARLY = 30  # seconds before its end that a token is changed


def auth(settings: Mapping[str, Any], secret: Secret | None, around: Around) -> Headers:
    """What makes the headers for each request. Raises UsageError when settings and secret do not fit."""
    how = str(settings.get("auth") or ("bearer" if secret else "none"))
    if how == "none":
        return dict
    if how not in ("bearer", "basic", "smart"):
        raise UsageError("The setting auth is bearer, basic, smart or none.")
    if secret is None:
        raise UsageError(f"The setting auth={how} needs a secret; name its variable or file.")
    if how == "bearer":
        return bearer(secret)
    return _basic(secret) if how == "basic" else _Smart(settings, secret, around)


def _basic(secret: Secret) -> Headers:
    if ":" not in secret.reveal():
        raise UsageError("With auth=basic the secret is user:password.")
    return lambda: {"Authorization": "Basic " + b64encode(secret.reveal().encode()).decode()}


class _Smart:
    """Holds the access token of the moment."""

    def __init__(self, settings: Mapping[str, Any], secret: Secret, around: Around) -> None:
        missing = [name for name in ("token_url", "client_id") if not settings.get(name)]
        if missing:
            raise UsageError(f"The setting auth=smart also needs {' and '.join(missing)}.")
        self._url, self._client = str(settings["token_url"]), str(settings["client_id"])
        self._kid = settings.get("key_id")
        self._scope = str(settings.get("scope") or "system/*.read")
        self._secret, self._around = secret, around
        self._token: Secret | None = None
        self._ends = 0.0
        _key(secret)

    def __call__(self) -> Mapping[str, str]:
        """The headers of one request."""
        if self._token is None or time.monotonic() >= self._ends:
            self._renew()
        assert self._token is not None
        return bearer(self._token)()

    def forget(self) -> None:
        """Take a new token for the next request: the server does not know this one any more."""
        self._token = None

    def _renew(self) -> None:
        parts = urlsplit(self._url)
        fields = {
            "grant_type": "client_credentials",
            "scope": self._scope,
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": self._assertion(),
        }
        http = Http(f"{parts.scheme}://{parts.netloc}", self._around)
        try:
            answer = http.form(self._url, fields).json()
        finally:
            http.close()
        token = answer.get("access_token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not token:
            raise AuthenticationFailed("The token endpoint gave no access token.")
        life = _seconds(answer.get("expires_in"))
        self._token = Secret(token)
        self._ends = time.monotonic() + life - min(_EARLY, life / 2)

    def _assertion(self) -> str:
        """The signed statement of who we are. Its time is the machine's own: a server compares it to its own now."""
        from cryptography.hazmat.primitives.asymmetric import padding
        from cryptography.hazmat.primitives.hashes import SHA384

        head = {"alg": "RS384", "typ": "JWT", **({"kid": self._kid} if self._kid else {})}
        ends = int(SYSTEM.now().timestamp()) + _LIFE
        claims = {"iss": self._client, "sub": self._client, "aud": self._url, "exp": ends, "jti": uuid4().hex}
        text = b".".join(_url64(orjson.dumps(part)) for part in (head, claims))
        return (text + b"." + _url64(_key(self._secret).sign(text, padding.PKCS1v15(), SHA384()))).decode()


def _seconds(value: Any) -> float:
    """How long a token is good for: a number, or a text of one; the least usual where a server does not say."""
    try:
        life = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else -1.0
    except ValueError:
        life = -1.0
    return min(life, _DAY) if life >= 0 else float(_LIFE)


def _key(secret: Secret) -> Any:
    """The private key. UsageError when the secret is none."""
    try:
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError:
        raise UsageError("The setting auth=smart needs cryptography: install medmirror[sync].") from None
    try:
        key = load_pem_private_key(secret.reveal().encode(), None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise UsageError("With auth=smart the secret is an RSA private key (PEM, without a passphrase).")
    return key


def _url64(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")
