"""The measurement of keys measures what it says: requests that are let in, by each kind of key."""

import pytest

from tests.load.keys import KINDS, main


def test_every_kind_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """A refused request would be fast, and would mean nothing; the program asserts that there is none."""
    main(rounds=1, calls=32)
    lines = capsys.readouterr().out.splitlines()

    assert [line.split(": ")[0] for line in lines[1 : len(KINDS) + 1]] == list(KINDS)
    assert len(lines) == len(KINDS) + 3
