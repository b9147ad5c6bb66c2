"""Long work is done in steps, with a pause after each."""

import pytest

from model.pauses import STEP, in_steps


@pytest.mark.parametrize(("size", "pauses"), [(0, 0), (1, 1), (STEP, 1), (STEP + 1, 2)])
def test_items_stay_the_same_and_each_step_ends_in_a_pause(size: int, pauses: int) -> None:
    """The last step too, however short it is."""
    counted = list[None]()

    assert list(in_steps(range(size), lambda: counted.append(None))) == list(range(size))
    assert len(counted) == pauses
