"""Payloads of dead letters, encrypted: the bytes of a record that nobody but the holder of the key may read.

MEDMIRROR_PAYLOAD_KEY (or the file that MEDMIRROR_PAYLOAD_KEY_FILE names) holds one key or several, parted by commas or
white space: the first encrypts, each decrypts. So a new key is put before the old one, which is taken away when no
letter needs it any more. Without a key no payload is kept.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from medmirror.errors import UsageError

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

VARIABLE = "MEDMIRROR_PAYLOAD_KEY"
_MAKE = "python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"


def seal(data: bytes, environ: Mapping[str, str] | None = None) -> bytes | None:
    """*data* encrypted; None when there is no key, for it is not kept then. UsageError for a key that is none."""
    keys = _keys(environ)
    return None if keys is None else keys.encrypt(data)


def unseal(sealed: bytes, environ: Mapping[str, str] | None = None) -> bytes:
    """What ``seal`` was given. UsageError when none of the keys is the one."""
    keys = _keys(environ)
    if keys is None:
        raise UsageError(f"The payload is encrypted; set {VARIABLE} to the key that it was encrypted with.")
    from cryptography.fernet import InvalidToken

    try:
        return keys.decrypt(sealed)
    except InvalidToken:
        raise UsageError(f"None of the keys in {VARIABLE} opens this payload; add the one of its time.") from None


def _keys(environ: Mapping[str, str] | None) -> MultiFernet | None:
    environ = os.environ if environ is None else environ
    text = environ.get(VARIABLE) or ""
    file = environ.get(f"{VARIABLE}_FILE")
    if not text and file:
        try:
            text = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise UsageError(f"The file that {VARIABLE}_FILE names cannot be read.") from None
    words = text.replace(",", " ").split()
    if not words:
        return None
    try:
        from cryptography.fernet import Fernet, MultiFernet

        return MultiFernet([Fernet(word) for word in words])
    except ModuleNotFoundError as error:
        raise UsageError(f"Payloads need {error.name}; install it: pip install 'medmirror[sync]'") from None
    except ValueError:
        raise UsageError(f"{VARIABLE} holds what is no key; make one: {_MAKE}") from None
