"""Batches by length: cut where padding costs more than a run, and by costs that were measured."""

import itertools
import random

import pytest

from service.parts import RunCost, measured, parts

COST = RunCost(run_s=10.0, place_s=1.0)


def seconds(cut: list[list[int]], lengths: list[int], cost: RunCost = COST) -> float:
    """What parts cost: a run each, and their places with the padding."""
    return sum(cost.run_s + cost.place_s * len(part) * max(lengths[place] for place in part) for part in cut)


def cheapest(lengths: list[int]) -> float:
    """The least that any way to cut the sorted lengths costs, by trying all."""
    ordered, least = sorted(range(len(lengths)), key=lengths.__getitem__), float("inf")
    for cuts in itertools.product((False, True), repeat=len(lengths) - 1):
        stops = [0, *(place + 1 for place, is_cut in enumerate(cuts) if is_cut), len(lengths)]
        least = min(least, seconds([ordered[start:stop] for start, stop in itertools.pairwise(stops)], lengths))
    return least


def test_everybody_is_in_one_part_and_short_ones_go_first() -> None:
    """No history is run twice or forgotten, whatever the lengths."""
    chance = random.Random(1)
    for _ in range(200):
        lengths = [chance.randint(0, 50) for _ in range(chance.randint(0, 40))]
        cut = parts(lengths, COST)

        assert sorted(itertools.chain(*cut)) == list(range(len(lengths)))
        for before, after in itertools.pairwise(cut):
            assert max(lengths[place] for place in before) < min(lengths[place] for place in after)


def test_a_cut_must_save_more_than_a_run() -> None:
    """Ten short ones beside a long one: eleven places saved are worth a run of ten, ten are not."""
    assert parts([1] * 10 + [3], COST) == [list(range(10)), [10]]
    assert parts([1] * 10 + [2], COST) == [list(range(11))]
    assert parts([7] * 32, COST) == [list(range(32))]


def test_cuts_are_all_but_the_cheapest() -> None:
    """One cut at a time is within a twentieth of the best of all ways, and never worse than not to cut."""
    chance = random.Random(2)
    for _ in range(100):
        lengths = [min(50, round(chance.lognormvariate(2.5, 0.75))) for _ in range(10)]
        spent = seconds(parts(lengths, COST), lengths)

        assert spent <= 1.05 * cheapest(lengths)
        assert spent <= seconds([list(range(10))], lengths)


@pytest.mark.parametrize("length", [2, 50])
def test_costs_are_what_runs_took(length: int) -> None:
    """A run of 3 s, .5 s a history, .01 s a place, with others' work on top but once: each is told from the others."""
    noise = itertools.cycle([1.0, 0.0, 0.2, 0.5])

    def run(size: int, long: int) -> float:
        return 3.0 + 0.5 * size + 0.01 * size * (long - 1) + next(noise)

    cost = measured(run, length=length)

    assert cost.run_s == pytest.approx(3.0)
    assert cost.place_s == pytest.approx(0.01)
