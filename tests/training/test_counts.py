"""Counts in messages."""

import pytest

from training.counts import counted


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 sessions"), (1, "1 session"), (2, "2 sessions"), (1_000, "1,000 sessions")]
)
def test_only_one_is_singular(number: int, said: str) -> None:
    """Zero takes the plural too."""
    assert counted(number, "session") == said
