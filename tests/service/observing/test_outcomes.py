"""Which events report the outcome of a proposal, and which outcome that is."""

import pytest

from model.events import Event, EventType, SkipRule
from service.observing.outcomes import ProposalOutcome, outcome_of
from service.request_ids import new_request_id, new_unique

REQUEST_ID = new_request_id(new_unique(1_800_000_000_000), "challenger", "demo-2", ["t1", "t2"])
EVENT = Event(1, EventType.COMPLETE, "e", "t2", request_id=REQUEST_ID)


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, "completed"),
        ({"type": EventType.SKIP}, "skipped"),
        ({"type": EventType.SKIP, "played_ms": 30_000}, "completed"),
        ({"played_ms": 5_000, "track_ms": 200_000}, "skipped"),
        ({"type": EventType.LIKE}, "liked"),
        ({"type": EventType.DISLIKE}, "disliked"),
    ],
)
def test_outcome_is_what_the_skip_rule_says(changes: dict[str, object], outcome: str) -> None:
    """It is the rule that also decides in a history. Version, arm and rank come from the id."""
    assert outcome_of(EVENT._replace(**changes), SkipRule()) == ProposalOutcome("demo-2", "challenger", "2", outcome)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [{"type": EventType.PLAY}, {"private": True}, {"request_id": None}, {"request_id": "mine"}, {"track_id": "t3"}],
)
def test_other_events_tell_of_no_proposal(changes: dict[str, object]) -> None:
    """A play has no outcome yet, and a private event counts in its session only."""
    assert outcome_of(EVENT._replace(**changes), SkipRule()) is None  # type: ignore[arg-type]
