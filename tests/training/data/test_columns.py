"""Columns on disk give the same values as columns in memory."""

import numpy as np
import pytest

from training.data.columns import HELD, Column


@pytest.mark.parametrize("size", [0, 5, HELD, 2 * HELD + 3])
def test_column_is_what_was_added(size: int) -> None:
    """Numbers and arrays come back in order, whether they fit into the buffer or not."""
    column = Column(np.int32)
    column.extend_by(np.arange(size, dtype=np.int64))
    column.extend(range(size, size + 7))
    found = column.finish()

    assert found.dtype == np.int32
    assert found.tolist() == list(range(size + 7))


def test_long_column_is_on_disk_and_a_short_one_in_memory() -> None:
    """The long one is read-only, so it cannot be changed by mistake."""
    columns = {}
    for size in (10, HELD):
        column = Column(np.int8)
        column.extend_by(np.ones(size))
        columns[size] = column.finish()

    assert isinstance(columns[HELD], np.memmap)
    assert not isinstance(columns[10], np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        columns[HELD][0] = 2


def test_number_that_does_not_fit_is_an_error() -> None:
    """It must not be stored as another number."""
    with pytest.raises(OverflowError):
        Column(np.int8).extend([200])
