"""Decides which of the waiting requests are scored together.

All requests of a batch are padded to its largest. So a large request runs alone, and others share a batch as long as the memory
for it is enough. Proposals and rankings use different graphs, so they run separately. Requests that one client sent as a batch
stay together: only the memory limits how many of them run at once.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from model.batch_memory import Cost
from model.encoding import RowHistory
from model.graphs import Scores
from service.scoring.gathering import Gathering

BEHIND_AT_ONCE = 8
"""Histories of explanations that run at once. A request that arrives meanwhile waits for these and no more."""


@dataclass(eq=False, slots=True)
class Job:
    """One waiting request. With a `count` it asks for the best rows outside `rows`; without a `count` it asks for the scores of
    `rows`.
    """

    history: RowHistory
    rows: Sequence[int]
    count: int | None
    future: asyncio.Future[Scores]
    since: float
    cost: Cost
    gathering: Gathering | None = None  # the other requests that the client sent with it
    behind: bool = False  # whether it runs only while no other request waits
    is_taken: bool = False  # set by the thread once the job is in a batch

    @property
    def graph(self) -> str:
        return "rank" if self.count is None else "model"


def take_batch(waiting: list[Job], most: int, memory_bytes: int, *, after_large: bool) -> list[Job]:
    """Remove and return the next batch: the oldest job, and the next ones that fit with it.

    With `after_large`, small jobs go first, so that they wait for one large job and not for all of them. Low-priority jobs are
    taken only if there are no others, and never share a batch with them.
    """
    if after_large:
        waiting.sort(key=lambda job: job.cost.is_large)
    if any(job.behind for job in waiting):
        waiting.sort(key=lambda job: job.behind)
    batch: list[Job] = []
    left: list[Job] = []
    largest = 0
    for job in waiting:
        larger = max(largest, job.cost.bytes)
        if not batch or (
            _has_room(batch, job, most) and (len(batch) + 1) * larger <= memory_bytes and _go_together(batch[0], job)
        ):
            batch.append(job)
            largest = larger
        else:
            left.append(job)
    waiting[:] = left
    return batch


def _has_room(batch: Sequence[Job], job: Job, most: int) -> bool:
    """Return whether one more job fits into a batch. The limit `most` does not apply to jobs that one client sent together."""
    first = batch[0].gathering
    if job.behind and len(batch) >= BEHIND_AT_ONCE:
        return False
    if job.gathering is not None:
        return job.gathering is first
    return len(batch) < most


def _go_together(one: Job, other: Job) -> bool:
    return one.graph == other.graph and one.behind == other.behind and not one.cost.is_large and not other.cost.is_large
