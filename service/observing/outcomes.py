"""Outcomes of proposed tracks. An event with the id of a reply counts for the model that proposed its track."""

from typing import Literal, NamedTuple

from model.events import Event, EventType, SkipRule
from service.request_ids import proposed_by

OutcomeName = Literal["completed", "skipped", "liked", "disliked"]
OUTCOMES: tuple[OutcomeName, ...] = ("completed", "skipped", "liked", "disliked")


class ProposalOutcome(NamedTuple):
    """The outcome of one proposed track, with the model, the arm and the rank that proposed it."""

    version: str
    arm: str
    rank: str
    outcome: OutcomeName


def outcome_of(event: Event, skip: SkipRule) -> ProposalOutcome | None:
    """Return the outcome that an event reports about a proposed track.

    Returns None for the start of a play, for a private event, and if `request_id` is not a reply of this service with the
    track. The skip rule decides between completed and skipped.
    """
    if event.request_id is None or event.private or event.type is EventType.PLAY:
        return None
    proposed = proposed_by(event.request_id, event.track_id)
    return None if proposed is None else ProposalOutcome(*proposed, _name(event, skip))


def _name(event: Event, skip: SkipRule) -> OutcomeName:
    if event.type >= EventType.LIKE:
        return "liked" if event.type is EventType.LIKE else "disliked"
    return "skipped" if skip.skipped(event.type, event.played_ms, event.track_ms) else "completed"
