"""The benchmark's statistics are correct: percentiles by hand, and a stall counts for every request that was due in it."""

import math
import random
from itertools import pairwise

import pytest

from tests.load.latencies import arrivals, spread, summarise


def test_percentiles_are_latencies_that_somebody_had() -> None:
    """A hundred latencies of 1 to 100 ms in random order: the nearest rank of each share is its number."""
    seconds = [ms / 1000 for ms in range(1, 101)]
    random.Random(0).shuffle(seconds)
    found = summarise(seconds)

    assert (found.p50, found.p90, found.p99, found.max) == pytest.approx((50, 90, 99, 100))


def test_one_latency_is_all_percentiles() -> None:
    """Percentiles are not interpolated."""
    found = summarise([0.25])

    assert (found.p50, found.p90, found.p99, found.max) == (250, 250, 250, 250)


def test_no_answer_is_no_number() -> None:
    """Without replies the result is NaN and not zero, which would look fast."""
    assert math.isnan(summarise([]).p99)


def test_arrivals_keep_their_rate_and_end_in_time() -> None:
    """The schedule has the asked rate, is in order, and its gaps vary as much as they last, as in a Poisson process."""
    found = arrivals(1000.0, 20.0, seed=3)
    gaps = [after - before for before, after in pairwise(found)]
    mean = sum(gaps) / len(gaps)
    deviation = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))

    assert len(found) == 20_000
    assert found == sorted(found)
    assert found[-1] == pytest.approx(20.0)
    assert deviation == pytest.approx(mean, rel=0.05)


def test_spread_is_median_and_range() -> None:
    """One odd round changes the range but not the median."""
    found = spread([3.0, 100.0, 2.0])

    assert (found.median, found.least, found.most) == (3.0, 2.0, 100.0)
