"""API keys as they are written down."""

import hashlib

import pytest

from service.http.access.keys import AccessError, digest, find, parse, together


def test_secret_and_its_hash_are_the_same_key() -> None:
    """So a secret can be stored hashed, and a file may have a line for each key."""
    hashed = hashlib.sha256(b"se:cret").hexdigest()
    plain, stored = parse("web:se:cret", admin=False), parse(f"\n web:sha256:{hashed.upper()} ,\n", admin=False)

    assert plain == stored
    assert find(plain, digest(b"se:cret")) == plain[0]
    assert find(plain, digest(b"se:cre")) is None


def test_key_is_found_wherever_it_stands() -> None:
    keys = together([*parse("one:1,two:2", admin=False), *parse("boss:3", admin=True)])

    assert [find(keys, digest(secret)) for secret in (b"1", b"2", b"3")] == list(keys)
    assert [key.admin for key in keys] == [False, False, True]


def test_file_of_keys_may_have_comments_and_blank_lines() -> None:
    """A comment may hold commas. A # in a secret is no comment."""
    text = "# the web player, the app\n\nweb:#1\r\n  # since 2026: radio:9\n \nradio:2\n#"

    assert parse(text, admin=False) == parse("web:#1,radio:2", admin=False)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("topsecret", "entry 1: expected NAME:SECRET"),
        ("a:1,:topsecret", "entry 2: expected NAME:SECRET"),
        ("a b:topsecret", "entry 1: expected NAME:SECRET"),
        ("web:", "key web: the secret is empty"),
        ("web:topsecret\u00e9", "key web: the secret has a character that a header cannot carry"),
        ("web:top secret", "key web: the secret has a character"),
        ("web:sha256:topsecret", "key web: what follows sha256: is not 64 hexadecimal digits"),
        ("web:topsecret,web:other", "two keys with the name web"),
        ("web:topsecret,app:topsecret", "keys web and app have the same secret"),
    ],
)
def test_wrong_key_is_said_without_its_secret(text: str, why: str) -> None:
    with pytest.raises(AccessError, match=why) as refused:
        together(parse(text, admin=False))

    assert "topsecret" not in str(refused.value)


def test_secret_is_in_no_representation() -> None:
    [key] = parse("web:topsecret", admin=False)

    assert repr(key) == "Key(name='web', admin=False)"
