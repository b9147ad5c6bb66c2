"""A reply's id says who proposed a track at which rank, and nothing else is taken for such an id."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.versions import new_version
from service.request_ids import BEYOND, PLACED, RANKS, Proposed, new_request_id, new_unique, proposed_by

NOW_MS = 1_800_000_000_000
VERSION = "demo-20261130T221911-6e1db9"


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.text(min_size=1, max_size=20), unique=True, max_size=30), st.sampled_from(["current", "challenger"]))
def test_id_tells_version_arm_and_rank_of_each_track(tracks: list[str], arm: str) -> None:
    """Of the first twenty each has its rank, of the others it is known that they came later."""
    request_id = new_request_id(new_unique(NOW_MS), arm, VERSION, tracks)
    ranks = ["1", "2", "3", "4-5", "4-5", *["6-10"] * 5, *["11-20"] * 10, *[BEYOND] * 10]
    found = [proposed_by(request_id, track) for track in tracks]

    assert len(request_id.encode()) <= 256
    assert [proposed and (proposed.version, proposed.arm) for proposed in found] == [(VERSION, arm)] * len(tracks)
    differing = [place for place, proposed in enumerate(found) if proposed and proposed.rank != ranks[place]]
    assert len(differing) <= 1  # two tracks of one checksum are possible, and very rare


@pytest.mark.parametrize("name", ["nexttrack epochs=3", "our model/2", "müsik", "", "x" * 200])
def test_version_of_any_recipe_is_told(name: str) -> None:
    """A recipe's name may have any character: `nexttrack:fit.epochs=3` is called `nexttrack epochs=3`."""
    version = new_version(name)

    assert proposed_by(new_request_id(new_unique(NOW_MS), "current", version, ["t1"]), "t1") == Proposed(
        version, "current", "1"
    )


def test_ranks_are_told_in_order() -> None:
    """Twelve plain tracks: no checksum is like another's."""
    tracks = [f"t{number}" for number in range(12)]
    request_id = new_request_id(new_unique(NOW_MS), "current", VERSION, tracks)

    assert [proposed_by(request_id, track) for track in tracks] == [
        Proposed(VERSION, "current", rank) for rank in ("1", "2", "3", "4-5", "4-5", *["6-10"] * 5, *["11-20"] * 2)
    ]


def test_track_that_a_short_reply_did_not_have_was_not_proposed() -> None:
    """A player that sends the wrong id with it counts for nobody; behind twenty tracks nobody can tell."""
    short, long = (
        new_request_id(new_unique(NOW_MS), "current", VERSION, [f"t{number}" for number in range(count)])
        for count in (5, PLACED)
    )

    assert proposed_by(short, "other") is None
    assert proposed_by(long, "other") == Proposed(VERSION, "current", BEYOND)


def test_ids_sort_by_time_and_are_unique() -> None:
    """Also within a millisecond."""
    ids = [new_request_id(new_unique(now_ms), "current", VERSION, ["t1"]) for now_ms in (5, 5, 70, 1_800_000_000_000)]

    assert len(set(ids)) == 4
    assert [request_id[:12] for request_id in sorted(ids)] == [request_id[:12] for request_id in ids]


GOOD = f"01a3185c50004d868d823415840e.current.7-I.{VERSION}"


def test_id_made_by_an_earlier_service_is_read() -> None:
    """Its form is fixed: players hold ids over an upgrade."""
    assert proposed_by(GOOD, "t1") == Proposed(VERSION, "current", "1")


@pytest.mark.parametrize(
    "request_id",
    [
        "",
        "r1",
        GOOD[1:],
        GOOD.replace("current", "other"),
        GOOD.replace(VERSION, ""),
        GOOD.replace(VERSION, "a b"),
        GOOD.replace(VERSION, "x" * 101),
        GOOD.replace(VERSION, "é"),
        GOOD.rpartition(".")[0],
        ".".join([*GOOD.split(".")[:2], "A", VERSION]),
        ".".join([*GOOD.split(".")[:2], "AAAA", VERSION]),
        ".".join([*GOOD.split(".")[:2], "A" * 56, VERSION]),
    ],
)
def test_other_ids_are_nobodys(request_id: str) -> None:
    """A player's own string, or one of ours that was cut or changed: no error, and no count."""
    assert proposed_by(request_id, "t1") is None


def test_ranks_are_few() -> None:
    """Each is a time series for each version and outcome."""
    assert RANKS == ("1", "2", "3", "4-5", "6-10", "11-20", "21+")
