"""Compares a second model's answers with the served ones. The second model's answers are not served.

Each comparison runs in a task of its own after the served answer is known, so it delays no reply. It reads the listener's
history again and scores it, so a shadow costs about as much as serving twice. If too many comparisons are in progress, further
ones are left out and counted.
"""

import asyncio

from service.errors import ServiceError
from service.observing.metrics import Metrics
from service.recommender import Query, Recommendation
from service.scoring.registry import ServedModel

AT_ONCE = 32
"""Largest number of comparisons in progress: one batch of the scorer."""


class Shadow:
    """Compares the answers of a second model with the served ones, and reports their overlap as a metric."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._under_way: set[asyncio.Task[None]] = set()

    def compare(self, model: ServedModel, user_id: str, query: Query, served: Recommendation, now_ms: int) -> None:
        """Answer the same request with `model`, and report how many of the served tracks are in its answer."""
        if served.source != "model" or not served.tracks:
            return
        if len(self._under_way) >= AT_ONCE:
            self._metrics.shadow_left_out.inc()
            return
        task = asyncio.create_task(self._compare(model, user_id, query, served, now_ms))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _compare(self, model: ServedModel, user_id: str, query: Query, served: Recommendation, now_ms: int) -> None:
        with model:
            try:
                other = await model.recommender.for_listener(user_id, query, now_ms)
            except ServiceError:
                self._metrics.shadow_left_out.inc()
                return
        if other.source == "model":
            shared = {*served.track_ids} & {*other.track_ids}
            self._metrics.shadow_overlap_of(model.version).observe(len(shared) / len(served.tracks))
