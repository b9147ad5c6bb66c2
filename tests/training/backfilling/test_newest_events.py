"""The choice of events, against the plain definition; the bodies made of them."""

import json
from random import Random

import polars as pl
import pytest

from training.backfilling import newest_events as module
from training.backfilling.batches import BYTES_A_BATCH, EVENTS_A_BATCH, batches, postable
from training.backfilling.newest_events import COLUMNS, Wanted, newest_events
from training.data.log import ORDER, SCHEMA, TYPES

Row = tuple[str, str, int, str]


def table(rows: list[Row]) -> pl.DataFrame:
    """Events of listeners, tracks, times and types, in the log's order."""
    given = pl.DataFrame(rows, ["user_id", "track_id", "at_ms", "type"], orient="row").with_columns(asked=pl.lit(value=True))
    absent = (pl.lit(None).alias(name) for name in SCHEMA if name not in given.columns)
    return given.with_columns(absent).select(SCHEMA.names()).cast(SCHEMA).sort(ORDER)


def some_rows(listeners: int = 9) -> list[Row]:
    """Listeners of very different numbers of events, of which some are alike."""
    chance = Random(4)
    return [
        (f"u{user}", f"t{chance.randrange(12)}", chance.randrange(80), chance.choice(TYPES))
        for user in range(listeners)
        for _ in range(chance.choice((1, 5, 60)))
    ]


def plain(rows: list[Row], wanted: Wanted, after: str = "") -> list[Row]:
    """The same by the definition: of each listener the newest events, and the newest opinions on tracks."""
    chosen = []
    ordered = sorted(set(rows), key=lambda row: (row[0], row[2], TYPES.index(row[3]), row[1]))
    for user in sorted({row[0] for row in rows if row[0] > after}):
        mine = [row for row in ordered if row[0] == user]
        newest = {row[1]: row for row in mine if row[3] in ("like", "dislike")}
        opinions = sorted(newest.values(), key=mine.index)[-wanted.opinions :]
        chosen += [row for row in mine if row in mine[-wanted.events :] or row in opinions]
    return chosen


@pytest.mark.parametrize("size", [1, 7, 1_000])
@pytest.mark.parametrize("wanted", [Wanted(events=1, opinions=1), Wanted(events=20, opinions=3), Wanted()])
def test_choice_is_that_of_the_plain_definition(size: int, wanted: Wanted, monkeypatch: pytest.MonkeyPatch) -> None:
    """In slices of a row, of some, and of all; tables hold whole listeners."""
    monkeypatch.setattr(module, "_SLICE", size)
    rows = some_rows()
    for after in (None, "u3"):
        found = list(newest_events(table(rows).lazy(), wanted, after=after))
        users = [user for part in found for user in part["user_id"].unique(maintain_order=True)]

        assert pl.concat(found).select("user_id", "track_id", "at_ms", "type").rows() == plain(rows, wanted, after or "")
        assert len(users) == len(set(users))


@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_events_that_are_not_sound_are_left_out_before_the_choice(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise they would take the place of others. One listener has no other events, and a whole slice may have none."""
    monkeypatch.setattr(module, "_SLICE", size)
    rows, wanted = some_rows() + [("u4a", f"t{at}", at, "play") for at in range(60, 80)], Wanted(events=20, opinions=3)
    found = list(newest_events(table(rows).lazy(), wanted, sound=pl.col("at_ms") < 60))

    assert pl.concat(found).select("user_id", "track_id", "at_ms", "type").rows() == plain(
        [row for row in rows if row[2] < 60], wanted
    )


def test_nothing_is_no_batch() -> None:
    """Of an empty log, or where the last listener was sent."""
    assert list(batches(newest_events(table(some_rows()).lazy(), Wanted(), after="u9"))) == []


def test_batches_hold_all_events_once_and_end_with_listeners() -> None:
    """At most a thousand events; a batch knows who is whole by its end."""
    rows = [(f"u{user:03d}", f"t{at}", at, "complete") for user in range(50) for at in range(70)]
    made = list(batches([table(rows)]))
    events = [json.loads(event) for batch in made for event in batch.events]

    assert [len(batch.events) for batch in made] == [EVENTS_A_BATCH] * 3 + [500]
    assert sum(batch.listeners for batch in made) == 50
    assert [batch.last for batch in made] == ["u013", "u027", "u041", "u049"]
    assert [(event["user_id"], event["track_id"]) for event in events] == [row[:2] for row in rows]
    assert len({event["event_id"] for event in events}) == len(rows)
    assert json.loads(made[-1].body)["events"] == events[3_000:]


def test_large_ids_make_smaller_batches() -> None:
    """A body stays below the MiB that the service takes."""
    rows = [("u" * 256, "é" * 100 + f"{at:028d}" + '"' * 28, at, "complete") for at in range(1_000)]
    long = table(rows).with_columns(session_id=pl.lit('"' * 256))
    made = list(batches([long]))

    assert len(made) > 1
    assert max(len(batch.body) for batch in made) < BYTES_A_BATCH + 1_000
    assert sum(len(batch.events) for batch in made) == 1_000


def test_event_ids_depend_on_the_event_and_keep_the_order_of_a_moment() -> None:
    """A log that has grown gives old events their old ids; within a millisecond ids sort as the log does."""
    rows = [("u", f"t{number}", 5, "skip") for number in range(20)] + [("u", "t0", 5, "play"), ("v", "t0", 5, "play")]

    def ids(rows: list[Row]) -> dict[tuple[str, str, str], str]:
        events = [json.loads(event) for batch in batches([table(rows)]) for event in batch.events]
        return {(event["user_id"], event["track_id"], event["type"]): event["event_id"] for event in events}

    found, grown = ids(rows), ids([*rows, ("a", "t9", 5, "skip"), ("u", "t9", 4, "skip"), ("u", "t9", 6, "skip")])
    skips = [(track, found["u", track, "skip"]) for track in sorted(f"t{number}" for number in range(20))]

    assert {key: grown[key] for key in found if key[1] != "t9"} == {key: found[key] for key in found if key[1] != "t9"}
    assert [event_id for _, event_id in skips] == sorted(event_id for _, event_id in skips)
    assert len(set(found.values())) == len(found)


def test_what_a_service_refuses_is_known() -> None:
    """One such event would have its whole batch refused."""
    good = table([("u", "t", 10, "skip")])
    odd = pl.concat(
        [
            good.with_columns(at_ms=pl.lit(11, pl.Int64)),
            good.with_columns(session_id=pl.lit("a\tb")),
            good.with_columns(played_ms=pl.lit(2**53 + 1, pl.Int64)),
        ]
    )

    assert good.select(postable(10)).to_series().to_list() == [True]
    assert odd.select(postable(10)).to_series().to_list() == [False] * 3
    assert set(COLUMNS) < set(SCHEMA)
