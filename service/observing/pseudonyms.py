"""Replaces user ids in log lines by pseudonyms, so that logs can be kept and shared without naming listeners.

A pseudonym is the first 16 hexadecimal digits of HMAC-SHA-256 over the id, with a secret key. A listener has the same pseudonym
in every line, so whoever has the key can find a listener's lines. Without the key nobody can try out ids, as would be possible
with a plain hash.
"""

import hashlib
import hmac
import re
from urllib.parse import unquote_to_bytes

from pydantic import SecretStr

_KNOWN = re.compile(
    r"(/v1/users/)([^/]+)(/next|/session|/export|/blocks(?:/(?:tracks|artists|albums)/[^/]+)?)?"
    r"|/v1/(events|next|next/batch|status|model|model/reload|blocks|blocks/(?:tracks|artists|albums)/.+)"
    r"|/(healthz|readyz|metrics|dashboard|docs|openapi\.json)?|/(web|docs/assets)/[a-z.-]+\.(css|js|svg|png)"
)
"""The paths of all routes and files."""
UNMATCHED = "(unmatched)"
DIGITS = 16


def pseudonyms(key: SecretStr | None) -> "Pseudonyms | None":
    """Return the pseudonyms that the settings configure; None if user ids are logged unchanged."""
    return None if key is None else Pseudonyms(key.get_secret_value())


class Pseudonyms:
    """Makes pseudonyms with one key."""

    def __init__(self, key: str) -> None:
        self._hmac = hmac.new(key.encode(), digestmod=hashlib.sha256)

    def user(self, user_id: str) -> str:
        """Return the pseudonym of a user id."""
        return self._of(user_id.encode(errors="surrogatepass"))

    def path(self, path: str) -> str:
        """Return a request's path with the user id replaced by its pseudonym. The path must be percent-encoded below
        `/v1/users/`. A path without a route may have an id anywhere, so it becomes `UNMATCHED`.
        """
        match = _KNOWN.fullmatch(path)
        if match is None:
            return UNMATCHED
        if match[2] is None:
            return path
        return match[1] + self._of(unquote_to_bytes(match[2].encode(errors="surrogatepass"))) + (match[3] or "")

    def _of(self, user_id: bytes) -> str:
        digest = self._hmac.copy()
        digest.update(user_id)
        return digest.hexdigest()[:DIGITS]
