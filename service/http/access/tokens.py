"""Listener tokens: JSON Web Tokens that a backend signs for one listener's own device (RFC 7519, by PyJWT).

The configured key fixes the algorithm, so a token cannot choose a weaker one. Verifying a signature costs time, so a verified
token is remembered by its digest until it expires.
"""

import re
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.exceptions import InvalidSubjectError

from service.errors import UnauthorizedError
from service.http.access.keys import AccessError

SECRET_BYTES, RSA_BITS = 32, 2048
"""The shortest keys that are taken, by RFC 7518, sections 3.2 and 3.3."""
LEEWAY_S = 30.0
"""How far the clocks of signer and service may differ."""
MOST_REMEMBERED = 16_384
"""Verified tokens that a process remembers, at about 300 bytes each. The oldest goes for a new one."""
MOST_BYTES = 4_096
"""A longer token is refused unread."""
_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_EXPECTED = "expected RSA keys of at least 2,048 bits or EC keys on P-256, as PEM blocks `PUBLIC KEY`"


class Verifier(NamedTuple):
    """A key that verifies tokens, and the one algorithm that its tokens may use."""

    key: "str | RSAPublicKey | EllipticCurvePublicKey"
    algorithm: str


class Tokens:
    """Verifies listener tokens, and caches the verified ones until they expire."""

    def __init__(self, verifiers: Sequence[Verifier], clock: Callable[[], float] = time.time) -> None:
        """`clock` returns Unix time in seconds. Cached tokens expire by it."""
        self._verifiers, self._clock = verifiers, clock
        self._remembered: dict[bytes, tuple[str, float]] = {}

    def user(self, token: bytes, digest: bytes) -> str:
        """Return the user id that a token was signed for. `digest` is the digest of the token. Raises UnauthorizedError if it
        is not valid.
        """
        found = self._remembered.get(digest)
        if found is None or found[1] <= self._clock():
            found = self._verified(token)
            if len(self._remembered) >= MOST_REMEMBERED:
                del self._remembered[next(iter(self._remembered))]
            self._remembered[digest] = found
        return found[0]

    def _verified(self, token: bytes) -> tuple[str, float]:
        """Return the user id in a token, and the time at which the token expires. Raises UnauthorizedError if it is not
        valid.
        """
        refusal = UnauthorizedError("this listener token is not valid here", invalid=True)
        if len(token) > MOST_BYTES:
            raise refusal
        for verifier in self._verifiers:
            try:
                return _decoded(token, verifier)
            except jwt.ExpiredSignatureError as error:
                raise UnauthorizedError("this listener token has expired; ask for a new one", invalid=True) from error
            except (jwt.MissingRequiredClaimError, InvalidSubjectError) as error:
                raise UnauthorizedError("a listener token needs the claims sub, a user id, and exp", invalid=True) from error
            except jwt.InvalidAudienceError as error:
                raise UnauthorizedError(
                    "this listener token has the claim aud, so it is for another service", invalid=True
                ) from error
            except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
                continue  # signed by another key, or no token at all
        raise refusal


def with_secret(secret: str) -> Tokens:
    """Return the verifier of tokens that are signed with a shared secret (HS256). Raises AccessError for a weak secret."""
    if len(secret.encode()) < SECRET_BYTES:
        raise AccessError(f"found {len(secret.encode())} bytes; a secret for HS256 has at least {SECRET_BYTES}")
    try:
        jwt.get_algorithm_by_name("HS256").prepare_key(secret)
    except jwt.InvalidKeyError as error:
        raise AccessError("found a PEM or SSH key; a secret for HS256 is random text, and a public key has a file") from error
    return Tokens([Verifier(secret, "HS256")])


def with_public_keys(text: str) -> Tokens:
    """Return the verifier of tokens by the public keys in a PEM text (RS256, ES256). Raises AccessError for unsuitable keys."""
    blocks = list(_BLOCK.finditer(text))
    if not blocks:
        raise AccessError(f"found no key; {_EXPECTED}")
    return Tokens([_verifier(block[1], block[0]) for block in blocks])


def _verifier(label: str, block: str) -> Verifier:
    if "PRIVATE" in label:
        raise AccessError("found a private key; the service needs the public one alone")
    try:
        key = load_pem_public_key(block.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise AccessError(f"found a block {label} that cannot be read; {_EXPECTED}") from error
    if isinstance(key, RSAPublicKey) and key.key_size >= RSA_BITS:
        return Verifier(key, "RS256")
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return Verifier(key, "ES256")
    raise AccessError(f"found a key of another kind or length; {_EXPECTED}")


def _decoded(token: bytes, verifier: Verifier) -> tuple[str, float]:
    claims = jwt.decode(
        token, verifier.key, algorithms=[verifier.algorithm], leeway=LEEWAY_S, options={"require": ["exp", "sub"]}
    )
    if not claims["sub"]:
        raise InvalidSubjectError("an empty user id")
    return claims["sub"], int(claims["exp"]) + LEEWAY_S
