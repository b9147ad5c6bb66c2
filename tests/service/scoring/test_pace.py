"""The pace of batches in a simulation of clients, event loop and model: near the better of two fixed rules for all costs."""

import itertools
import math
from collections.abc import Callable

import pytest

from service.scoring.pace import LoopTime, Pace

MAX_BATCH = 32
COSTS = list(itertools.product((0.05, 0.2, 0.8, 2), (0.05, 0.3, 1, 5), (0.02, 0.1, 0.5, 2)))
"""Milliseconds that a request takes in the loop, that a run takes, and that a request takes in the model."""
Most = Callable[[int, bool], int | None]


class Clients:
    """Simulated clients that each ask again after a reply, with an event loop and a model. Time is simulated."""

    def __init__(self, clients: int, loop_ms: float, run_ms: float, request_ms: float) -> None:
        self._loop_ms, self._run_ms, self._request_ms = loop_ms, run_ms, request_ms
        self._clients = clients
        self._loop_busy_ms = self._model_busy_ms = 0.0

    def answered_a_second(self, most: Most | None = None) -> float:
        """Return how many requests are answered in a second, by the service's pace or by another rule."""
        pace = Pace(LoopTime(lambda: self._loop_busy_ms / 1e3), lambda: self._model_busy_ms / 1e3)
        for size in (1, 2, 4):  # the first requests of a new service
            with pace.running(size):
                self._model_busy_ms += self._run_ms + self._request_ms * size
        now_ms, answered = 0.0, 0
        asking, waiting, unheard = self._clients, 0, 0
        lot = batch = 0
        loop_ends_ms = model_ends_ms = math.inf
        waited = True
        for _ in range(1_000):
            if not lot and asking:
                lot, asking, unheard = asking, 0, 0
                loop_ends_ms = now_ms + lot * self._loop_ms
            if not batch and waiting:
                chosen = most(waiting + unheard, waited) if most else pace.most(waiting + unheard, waited=waited)
                batch = min(waiting, MAX_BATCH, chosen or MAX_BATCH)
                waiting, waited = waiting - batch, False
                with pace.running(batch):
                    self._model_busy_ms += self._run_ms + self._request_ms * batch
                model_ends_ms = now_ms + self._run_ms + self._request_ms * batch
            elif not batch:
                waited = True
            now_ms = min(loop_ends_ms, model_ends_ms)
            if loop_ends_ms <= model_ends_ms:
                self._loop_busy_ms += lot * self._loop_ms
                waiting, lot, loop_ends_ms = waiting + lot, 0, math.inf
            else:
                pace.answered(batch)
                answered, asking, unheard = answered + batch, asking + batch, unheard + batch
                batch, model_ends_ms = 0, math.inf
        return answered / now_ms * 1_000


def whole(_: int, __: bool) -> int | None:
    """A rule: every batch takes all waiting requests."""
    return None


def halves(under_way: int, _: bool) -> int | None:
    """A rule: every batch leaves half of the requests."""
    return -(-under_way // 2)


@pytest.mark.parametrize(("clients", "share"), [(1, 0.99), (2, 0.99), (4, 0.99), (8, 0.96), (16, 0.99), (32, 0.99), (64, 0.84)])
def test_no_fixed_rule_answers_many_more(clients: int, share: float) -> None:
    """Loop and model are fast or slow, and runs expensive or cheap. It is no luck: each fixed rule loses a quarter to a half
    somewhere.

    With more than `MAX_BATCH` clients, whole batches also run in parallel with the loop, and one of the costs makes half
    batches expensive.
    """
    shares, worst = [], {whole: 1.0, halves: 1.0}
    for costs in COSTS:
        fixed = {rule: Clients(clients, *costs).answered_a_second(rule) for rule in worst}
        shares.append(Clients(clients, *costs).answered_a_second() / max(fixed.values()))
        worst = {rule: min(worst[rule], fixed[rule] / max(fixed.values())) for rule in worst}

    assert min(shares) > share
    assert clients in (1, 64) or max(worst.values()) < 0.75


def test_time_of_the_loop_is_averaged_over_the_latest_requests() -> None:
    """Time before the first reply does not count. One slow moment among many requests changes little."""
    now = 100.0
    loop = LoopTime(lambda: now)
    loop.answered(1)
    found = []
    for more, requests in ((0.2, 2), (25.6, 256), (1.0, 1), (0.0, 0)):
        now += more
        loop.answered(requests)
        found.append(loop.request_s)

    assert found == pytest.approx([0.1, 0.1, 0.1 + 0.9 / 256, 0.1 + 0.9 / 256])


def test_fixed_cost_of_a_run_is_told_from_runs_of_different_sizes() -> None:
    """If all runs have one size, it is at most the shortest run. Runs that fail are ignored."""
    now = 0.0
    pace = Pace(LoopTime(lambda: 0.0), lambda: now)

    def run(size: int, seconds: float) -> float:
        nonlocal now
        with pace.running(size):
            now += seconds
        return pace.run_s

    same = [run(16, 5.8), run(16, 5.6), run(16, 5.7)]
    with pytest.raises(ZeroDivisionError), pace.running(1):
        raise ZeroDivisionError
    for size in (1, 4, 8, 2, 32, 16) * 60:
        run(size, 0.8 + 0.3 * size)

    assert same == pytest.approx([5.8, 5.6, 5.6])
    assert pace.run_s == pytest.approx(0.8, abs=0.02)
