"""The measure of a long history's cost prints a line for each length."""

import pytest

from tests.load.long_history import main


def test_each_length_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """All four figures of a listener without a past and of one with 300 plays."""
    found = main([0, 300], catalogue=500, requests=1)

    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["0", "300"]
    assert all(min(cost) > 0 for cost in found.values())
