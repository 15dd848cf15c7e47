"""Encrypted payloads of dead letters: the bytes of a record, which only the holder of the key may read.

MEDMIRROR_PAYLOAD_KEY (or the file that MEDMIRROR_PAYLOAD_KEY_FILE names) holds one key or several, separated by commas
or white space: the first encrypts, each decrypts. A new key goes before the old one, which is removed when no letter
needs it any more. Without a key no payload is stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from medmirror.errors import UsageError
from medmirror.settings import PayloadSettings, read

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

VARIABLE = "MEDMIRROR_PAYLOAD_KEY"
_MAKE = "python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"


def seal(data: bytes, settings: PayloadSettings | None = None) -> bytes | None:
    """Return *data* encrypted; None when there is no key, and so nothing to store.

    *settings*: those of the environment by default. Raises UsageError for an invalid key.
    """
    keys = _keys(settings)
    return None if keys is None else keys.encrypt(data)


def unseal(sealed: bytes, settings: PayloadSettings | None = None) -> bytes:
    """Return the bytes that ``seal`` was given. Raises UsageError when none of the keys fits."""
    keys = _keys(settings)
    if keys is None:
        raise UsageError(f"The payload is encrypted; set {VARIABLE} to the key that it was encrypted with.")
    from cryptography.fernet import InvalidToken

    try:
        return keys.decrypt(sealed)
    except InvalidToken:
        raise UsageError(f"None of the keys in {VARIABLE} opens this payload; add the one of its time.") from None


def _keys(settings: PayloadSettings | None) -> MultiFernet | None:
    settings = read(PayloadSettings) if settings is None else settings
    text = settings.key or ""
    if not text and settings.key_file:
        try:
            text = settings.key_file.read_text(encoding="utf-8")
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
