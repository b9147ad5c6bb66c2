"""The parts of a running application, typed, and how a route gets them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from service.observing.metrics import Metrics
from service.observing.recent_traffic import RecentTraffic
from service.observing.recent_trouble import RecentTrouble
from service.scoring.registry import ModelRegistry
from service.scoring.shadow import Shadow
from service.store.outcome_counters import OutcomeCounts
from service.store.recent_masks import RecentMasks
from service.store.sessions import SessionStore
from service.take_downs import TakeDowns


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """The parts of the service that routes use. The lifespan in `service.app` makes them."""

    models: ModelRegistry
    shadow: Shadow
    store: SessionStore
    masks: RecentMasks
    take_downs: TakeDowns
    metrics: Metrics
    outcomes: OutcomeCounts | None  # None if the store does not count
    trouble: RecentTrouble
    recent: RecentTraffic
    clock: Callable[[], int]  # the current Unix time in milliseconds


async def _state(request: Request) -> State:  # async, because FastAPI would otherwise call it in a thread
    state: State = request.state.service
    return state


Service = Annotated[State, Depends(_state)]
"""A route's parameter of this type is the application's state."""
