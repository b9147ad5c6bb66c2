"""Outcomes of proposed tracks. An event with the id of a reply counts for the model that proposed its track."""

from typing import Literal, NamedTuple

from model.events import Event, EventType, SkipRule
from service.request_ids import proposed_by

OutcomeName = Literal["completed", "skipped", "liked", "disliked"]
OUTCOMES: tuple[OutcomeName, ...] = ("completed", "skipped", "liked", "disliked")


class ProposalOutcome(NamedTuple):
    """The outcome of one proposal, and the source of the track."""

    version: str
    arm: str
    rank: str
    outcome: OutcomeName


def outcome_of(event: Event, skip: SkipRule) -> ProposalOutcome | None:
    """Returns the outcome that an event reports.

    None for the start of a play, for a private event, and for an event that names no reply of ours with its track. The skip
    rule decides between completed and skipped.
    """
    if event.request_id is None or event.private or event.type is EventType.PLAY:
        return None
    proposed = proposed_by(event.request_id, event.track_id)
    return None if proposed is None else ProposalOutcome(*proposed, _name(event, skip))


def _name(event: Event, skip: SkipRule) -> OutcomeName:
    if event.type >= EventType.LIKE:
        return "liked" if event.type is EventType.LIKE else "disliked"
    return "skipped" if skip.skipped(event.type, event.played_ms, event.track_ms) else "completed"
