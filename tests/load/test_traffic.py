"""The generator's requests resemble real listeners': skewed, with sessions of human length, and each event once."""

import itertools
import json
import re
from collections import Counter
from typing import Any

import numpy as np

from tests.load.traffic import LENGTH, Kind, World, requests

WORLD = World(users=500, tracks=5_000)


def test_events_are_new_every_time() -> None:
    """Prepared bodies are sent again and again with new event ids, and their length is right."""
    sent = list(itertools.islice(requests("event", WORLD, run="a"), 12_000))
    ids = {json.loads(request.partition(b"\r\n\r\n")[2])["event_id"] for request in sent}

    assert len(ids) == len(sent)
    for request in sent[:50]:
        head, _, body = request.partition(b"\r\n\r\n")
        assert int(head.rpartition(b"Content-Length: ")[2]) == len(body)


def test_batches_hold_a_hundred_different_events() -> None:
    """Event ids are unique in a request and over requests."""
    batches = [
        json.loads(request.partition(b"\r\n\r\n")[2]) for request in itertools.islice(requests("batch", WORLD, run="a"), 60)
    ]
    ids = [event["event_id"] for batch in batches for event in batch["events"]]

    assert len(set(ids)) == len(ids) == 6_000


def test_some_listeners_ask_far_more_than_others() -> None:
    """The busiest tenth of users sends about half of the requests, and every user occurs."""
    found = re.compile(rb"/users/(u\d+)/")
    asked = Counter(
        match[1] for request in itertools.islice(requests("next", WORLD, run="a"), 5_000) if (match := found.search(request))
    )
    busiest = sum(count for _, count in asked.most_common(50))

    assert 0.35 < busiest / 5_000 < 0.65
    assert len(asked) > 400


def test_sessions_are_as_long_as_peoples() -> None:
    """Half of the sessions have at most a dozen plays, few are very long, and none is empty."""
    random = np.random.default_rng(0)
    lengths = [len(WORLD.session(random)) for _ in range(2_000)]

    assert 10 <= np.median(lengths) <= 14
    assert min(lengths) >= 1
    assert 0.01 < np.mean([length > 50 for length in lengths]) < 0.06


def test_two_events_to_one_ask() -> None:
    """The mixed load has two events and one `next`, in this order."""
    kinds = [request.partition(b" ")[0] for request in itertools.islice(requests("mixed", WORLD, run="a"), 6)]

    assert kinds == [b"POST", b"POST", b"GET"] * 2


def test_rivals_are_asked_the_same() -> None:
    """Each rival gets its own envelope. Histories for KServe are padded on the left to one width."""

    def bodies(kind: Kind) -> list[Any]:
        return [json.loads(made.partition(b"\r\n\r\n")[2]) for made in itertools.islice(requests(kind, WORLD, run="a"), 20)]

    for rows, asks, kserve in zip(bodies("rows"), bodies("asks"), bodies("kserve"), strict=True):
        tracks, outcomes, count = (given["data"] for given in kserve["inputs"])
        padding = [0] * (LENGTH - len(rows["tracks"]))

        assert asks == {"asks": [rows]}
        assert (tracks, outcomes, count) == (padding + rows["tracks"], padding + rows["outcomes"], [rows["count"]])
