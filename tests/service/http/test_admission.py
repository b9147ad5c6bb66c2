"""The limit on requests in flight follows the rate at which a saturated service answers."""

from service.http.admission import MOST, START, Admission

BATCH = 32


class Saturated:
    """An admission under more requests than are answered: after each reply the next request enters at once."""

    def __init__(self, target_s: float = 0.1) -> None:
        self.now = 0.0
        self.admission = Admission(target_s, BATCH, clock=lambda: self.now)
        self.fill()

    def fill(self) -> None:
        """Let requests enter until one is refused."""
        while self.admission.admits():
            self.admission.enter()

    def answer(self, replies: int, *, pace: float) -> None:
        """Answer this many requests at a rate of `pace` replies a second."""
        for _ in range(replies):
            self.now += 1 / pace
            self.admission.leave()
            self.fill()


def test_limit_is_what_the_service_answers_in_the_target_time() -> None:
    """By Little's law it is rate times target time. So a fast service may have more in flight than at the start, a slow one
    less.
    """
    fast, slow = Saturated(), Saturated()
    fast.answer(50_000, pace=5_000)
    slow.answer(20_000, pace=1_000)

    assert 490 <= fast.admission.limit <= 510
    assert 95 <= slow.admission.limit <= 105


def test_limit_has_a_floor_of_two_batches_and_a_ceiling() -> None:
    """Even the slowest service gets batches to score, and the limit of the fastest is finite."""
    slow, fast = Saturated(), Saturated(target_s=10.0)
    slow.answer(5_000, pace=10)
    fast.answer(200_000, pace=10_000)

    assert slow.admission.limit == 2 * BATCH
    assert fast.admission.limit == MOST


def test_limit_recovers_when_the_service_becomes_faster() -> None:
    """It also recovers from the floor. There a batch's replies leave no request waiting, so the service is idle although it
    refuses some.
    """
    service = Saturated()
    service.answer(5_000, pace=10)
    for _ in range(4_000):
        for _ in range(2 * BATCH):  # all requests in flight are answered in one turn of the event loop
            service.now += 1 / 5_000
            service.admission.leave()
        service.fill()

    assert service.admission.limit > START


def test_idle_service_shows_nothing() -> None:
    """If few requests arrive, few are answered. The limit must not fall because of that."""
    now = 0.0
    admission = Admission(0.1, BATCH, clock=lambda: now)
    for _ in range(2_000):
        admission.enter()
        now += 0.1
        admission.leave()

    assert (admission.limit, admission.in_flight) == (START, 0)
