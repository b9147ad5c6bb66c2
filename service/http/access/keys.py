"""API keys: a name for logs and metrics, and a secret of which only the SHA-256 digest is kept in memory.

A key's secret is random and long, so a plain digest protects it. A slow password hash would cost more than a whole request.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from model.key_files import key_entries

EXPECTED = "expected NAME:SECRET or NAME:sha256:HEX"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SECRET = re.compile(r"[!-~]+")
_HEX = re.compile(r"[0-9a-fA-F]{64}")
_HASHED = "sha256:"


class AccessError(ValueError):
    """The configured keys, tokens or limits cannot be used. The text never contains a secret."""


@dataclass(frozen=True, slots=True)
class Key:
    """One API key: its name, the digest of its secret, and whether it is an admin key."""

    name: str
    digest: bytes = field(repr=False)
    admin: bool = False


def parse(text: str, *, admin: bool) -> list[Key]:
    """Parse keys in the form of `model.key_files`. Raises AccessError with the number of the first entry that is wrong."""
    return [_key(number, entry, admin=admin) for number, entry in enumerate(key_entries(text), 1)]


def together(keys: Iterable[Key]) -> Sequence[Key]:
    """Return the keys of several sources as one list. Raises AccessError if two keys have the same name or secret."""
    of_name: dict[str, Key] = {}
    of_digest: dict[bytes, Key] = {}
    for key in keys:
        if key.name in of_name:
            raise AccessError(f"found two keys with the name {key.name}; give each key a name of its own")
        if key.digest in of_digest:
            raise AccessError(f"keys {of_digest[key.digest].name} and {key.name} have the same secret; give each its own")
        of_name[key.name] = of_digest[key.digest] = key
    return tuple(of_name.values())


def digest(secret: bytes) -> bytes:
    """Return the SHA-256 digest of a secret."""
    return hashlib.sha256(secret).digest()


def find(keys: Sequence[Key], presented: bytes) -> Key | None:
    """Return the key with the digest `presented`; None if there is none. All keys are compared in constant time, so the time
    reveals nothing.
    """
    found = None
    for key in keys:
        if hmac.compare_digest(key.digest, presented):
            found = key
    return found


def _key(number: int, entry: str, *, admin: bool) -> Key:
    name, colon, secret = entry.partition(":")
    if not colon or not _NAME.fullmatch(name):  # it may be a secret alone, so it is not repeated
        raise AccessError(f"entry {number}: {EXPECTED}, with a name of at most 64 letters, digits, dots, hyphens, underscores")
    if secret.startswith(_HASHED):
        hexadecimal = secret.removeprefix(_HASHED)
        if not _HEX.fullmatch(hexadecimal):
            raise AccessError(f"key {name}: what follows sha256: is not 64 hexadecimal digits")
        return Key(name, bytes.fromhex(hexadecimal), admin)
    if not _SECRET.fullmatch(secret):
        found = "has a character that a header cannot carry" if secret else "is empty"
        raise AccessError(f"key {name}: the secret {found}; use visible ASCII characters without commas")
    return Key(name, digest(secret.encode()), admin)
