"""Listener tokens: which are taken, and for how long.

Tokens are made inside the tests. Values made at import would differ between the processes that run the tests.
"""

import hashlib
import hmac
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from service.errors import UnauthorizedError
from service.http.access import tokens
from service.http.access.keys import AccessError, digest
from service.http.access.tokens import LEEWAY_S, Tokens, with_public_keys, with_secret
from tests.service.http.access.signing import SECRET, private_key, private_pem, public_pem, token


def user(verified: Tokens, text: str | bytes) -> str:
    """The user whom a token names."""
    encoded = text if isinstance(text, bytes) else text.encode()
    return verified.user(encoded, digest(encoded))


@pytest.mark.parametrize("sub", ["ann", "a/b", "\u00e9t\u00e9", "x" * 256])
def test_token_names_its_user(sub: str) -> None:
    assert user(with_secret(SECRET), token(sub)) == sub


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_token_is_verified_by_a_public_key(algorithm: str) -> None:
    """By each key of the file, so that keys can be rotated."""
    new, old = private_key(algorithm), private_key("ES256 of last year")
    verified = with_public_keys(f"of the new year\n{public_pem(new)}\n{public_pem(old)}")

    assert user(verified, token("ann", key=new, algorithm=algorithm)) == "ann"
    assert user(verified, token("bob", key=old, algorithm="ES256")) == "bob"


def unsigned() -> str:
    """A token with the algorithm `none`."""
    return jwt.encode({"sub": "ann", "exp": int(time.time()) + 600}, "", algorithm="none")


def by_public_key() -> str:
    """The old attack: HS256 with the public key as its secret. PyJWT does not sign it, so it is put together by hand."""

    def encode(part: bytes) -> bytes:
        return urlsafe_b64encode(part).rstrip(b"=")

    claims = jwt.encode({"sub": "ann", "exp": int(time.time()) + 600}, SECRET).split(".")[1].encode()
    signed = encode(b'{"alg":"HS256","typ":"JWT"}') + b"." + claims
    mac = hmac.digest(public_pem(private_key("ES256")).encode(), signed, hashlib.sha256)
    return (signed + b"." + encode(mac)).decode()


REFUSED: dict[str, Callable[[], str | bytes]] = {
    "another secret": lambda: token(key="another secret that is long enough, too"),
    "a longer algorithm": lambda: token(key=SECRET * 2, algorithm="HS512"),
    "no algorithm": unsigned,
    "the public key as a secret": by_public_key,
    "expired": lambda: token(exp=int(time.time() - LEEWAY_S) - 5),
    "not yet": lambda: token(nbf=int(time.time()) + 600),
    "no exp": lambda: token(exp=None),
    "exp is no number": lambda: token(exp="soon"),
    "exp is infinite": lambda: token(exp=float("inf")),
    "no sub": lambda: jwt.encode({"exp": int(time.time()) + 600}, SECRET),
    "an empty sub": lambda: token(""),
    "a number as sub": lambda: token(7),  # type: ignore[arg-type]  # what a careless backend signs
    "for another service": lambda: token(aud="billing"),
    "no token": lambda: "a.b.c",
    "bytes": lambda: b"\xff.\xff.\xff",
    "a deep header": lambda: urlsafe_b64encode(b"[" * 2_000) + b".e30.e30",
    "too long": lambda: token(more="x" * tokens.MOST_BYTES),
}


@pytest.mark.parametrize("kind", ["HS256", "ES256"])
@pytest.mark.parametrize("name", REFUSED)
def test_token_that_is_not_sound_is_refused(kind: str, name: str) -> None:
    """Whatever key the service has."""
    verified = with_secret(SECRET) if kind == "HS256" else with_public_keys(public_pem(private_key("ES256")))
    with pytest.raises(UnauthorizedError) as refused:
        user(verified, REFUSED[name]())

    assert 'error="invalid_token"' in refused.value.headers["WWW-Authenticate"]
    assert SECRET not in str(refused.value)


def test_refusals_say_what_a_backend_must_change() -> None:
    verified = with_secret(SECRET)
    said = []
    for name in ("expired", "no exp", "a number as sub", "for another service"):
        with pytest.raises(UnauthorizedError) as refused:
            user(verified, REFUSED[name]())
        said.append(refused.value.detail)

    assert "expired" in said[0]
    assert "sub" in said[1]
    assert "sub" in said[2]
    assert "aud" in said[3]


def test_verified_token_is_remembered_until_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its signature is verified once. After `exp` and the leeway it is refused, though it is remembered."""
    now, verified = time.time(), 0
    decode = jwt.decode

    def counted(*given: Any, **options: Any) -> Any:
        nonlocal verified
        verified += 1
        return decode(*given, **options)

    monkeypatch.setattr(jwt, "decode", counted)
    clock = [now]
    taken = Tokens(with_secret(SECRET)._verifiers, lambda: clock[0])  # the same key with another clock
    text = token(exp=int(now) + 60)
    users = {user(taken, text) for _ in range(3)}
    clock[0] = now + 60 + LEEWAY_S + 1
    monkeypatch.setattr(jwt, "decode", lambda *_, **__: (_ for _ in ()).throw(jwt.ExpiredSignatureError))

    assert (users, verified) == ({"ann"}, 1)
    with pytest.raises(UnauthorizedError, match="expired"):
        user(taken, text)


def test_memory_for_tokens_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is forgotten and verified again. Refused tokens push none out."""
    monkeypatch.setattr(tokens, "MOST_REMEMBERED", 2)
    verified = with_secret(SECRET)
    names = [user(verified, token(name)) for name in ("a", "b", "c", "a")]
    for name in ("expired", "no token"):
        with pytest.raises(UnauthorizedError):
            user(verified, REFUSED[name]())

    assert names == ["a", "b", "c", "a"]
    assert [user_id for user_id, _ in verified._remembered.values()] == ["c", "a"]  # its size is the promise


@pytest.mark.parametrize("secret", ["short", "x" * 31, "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZI\n-----END PUBLIC KEY-----"])
def test_weak_secret_is_refused(secret: str) -> None:
    """A short one can be guessed from a token; a public key is known to everybody."""
    with pytest.raises(AccessError) as refused:
        with_secret(secret)

    assert secret not in str(refused.value)


UNSUITABLE: dict[str, Callable[[], str]] = {
    "private": lambda: private_pem(private_key("ES256")),
    "short": lambda: public_pem(private_key("RSA of 1024 bits")),
    "another curve": lambda: public_pem(private_key("P-384")),
    "none": lambda: "no key",
    "broken": lambda: "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
    "one of two": lambda: public_pem(private_key("ES256")) + private_pem(private_key("ES256")),
}


@pytest.mark.parametrize("name", UNSUITABLE)
def test_unsuitable_public_key_is_refused(name: str) -> None:
    """At the start, with a sentence."""
    with pytest.raises(AccessError, match=r"^found "):
        with_public_keys(UNSUITABLE[name]())
