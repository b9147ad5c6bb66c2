"""POST /v1/next/batch answers each request as POST /v1/next does, and scores all of them together."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from httpx import Client
from starlette.types import Scope

from model.artifact import Artifact
from model.batch_memory import Cost
from model.encoding import RowHistory
from model.graphs import Graphs, Scores
from service.errors import OverloadedError, StoreUnavailableError
from service.http.connection import COSTS
from service.http.routes.batches import weigh
from service.observing.log_writer import LogWriter
from service.store.sessions import HistoryReader, Remembered
from tests.service.applications import running
from tests.service.fakes import GatedRunner, MemorySessions
from tests.service.processes import until


class CountedGraphs:
    """The real graphs, which note how many requests each run has."""

    def __init__(self, artifact: Artifact) -> None:
        self._graphs = Graphs(artifact, threads=1)
        self.runs: list[tuple[str, int]] = []

    def best(
        self, histories: Sequence[RowHistory], excluded: Sequence[Sequence[int]], counts: Sequence[int]
    ) -> Sequence[Scores]:
        self.runs.append(("best", len(histories)))
        return self._graphs.best(histories, excluded, counts)

    def rank(self, histories: Sequence[RowHistory], candidates: Sequence[Sequence[int]]) -> Sequence[Scores]:
        self.runs.append(("rank", len(histories)))
        return self._graphs.rank(histories, candidates)

    def cost(self, rows: int, count: int | None) -> Cost:
        return self._graphs.cost(rows, count)


class LosesOne(MemorySessions):
    """A session store in memory that cannot be reached for the listener `lost`."""

    async def read(self, user_id: str, now_ms: int, reader: HistoryReader | None = None) -> Remembered:
        if user_id == "lost":
            raise StoreUnavailableError("lost")
        return await super().read(user_id, now_ms, reader)


@pytest.fixture
def graphs(artifact: Artifact) -> CountedGraphs:
    """The graphs of the small artifact."""
    return CountedGraphs(artifact)


@pytest.fixture
def client(artifact: Artifact, graphs: CountedGraphs) -> Iterator[Client]:
    """A client of an application with some listeners in its store."""
    with running(artifact, runner=graphs, store=LosesOne(artifact.manifest.history)) as client:
        skips = [{"event_id": f"e{user}", "user_id": f"u{user}", "track_id": f"t{user}", "type": "skip"} for user in range(100)]
        assert client.post("/v1/events", json={"events": skips[:40]}).status_code == 200
        graphs.runs.clear()
        yield client


def ask(client: Client, requests: Sequence[object]) -> list[dict[str, Any]]:
    """Send a batch and return the replies."""
    reply = client.post("/v1/next/batch", json={"requests": requests})
    assert reply.status_code == 200, reply.text
    replies: list[dict[str, Any]] = reply.json()["replies"]
    return replies


def without_id(reply: dict[str, Any]) -> dict[str, Any]:
    """A reply without what is new each time."""
    return {name: value for name, value in reply.items() if name != "request_id"}


REQUESTS: list[dict[str, object]] = [
    {"user_id": "u3", "count": 4},
    {"history": [{"track_id": "t5", "outcome": "liked"}], "count": 2},
    {"user_id": "u3", "candidates": ["t9", "t3", "t1"]},
    {"user_id": "nobody"},
    {"user_id": "u7", "exclude": ["t11"]},
]


def test_replies_are_those_of_single_requests_in_order(client: Client) -> None:
    """Listeners, histories and candidates mixed; each reply has a request_id of its own."""
    singles = [client.post("/v1/next", json=request).json() for request in REQUESTS]
    replies = ask(client, REQUESTS)

    assert [without_id(reply) for reply in replies] == [without_id(reply) for reply in singles]
    assert len({reply["request_id"] for reply in replies}) == len(REQUESTS)


def test_hundred_listeners_are_one_run_of_the_model(client: Client, graphs: CountedGraphs) -> None:
    """More than other clients' requests that may run together."""
    replies = ask(client, [{"user_id": f"u{user}"} for user in range(100)])

    assert graphs.runs == [("best", 100)]
    assert [reply["user_id"] for reply in replies] == [f"u{user}" for user in range(100)]


def test_one_wrong_request_is_named_and_none_is_answered(client: Client, graphs: CountedGraphs) -> None:
    reply = client.post("/v1/next/batch", json={"requests": [{"user_id": "u1"}, {"user_id": "u2", "count": 101}]})

    assert reply.status_code == 422
    assert [fault["loc"] for fault in reply.json()["errors"]] == [["body", "requests", 1, "count"]]
    assert graphs.runs == []
    assert "nexttrack_proposals_total{" not in client.get("/metrics").text


@pytest.mark.parametrize("count", [0, 101])
def test_batch_has_1_to_100_requests(client: Client, count: int) -> None:
    reply = client.post("/v1/next/batch", json={"requests": [{}] * count})

    assert reply.status_code == 422
    assert [fault["loc"] for fault in reply.json()["errors"]] == [["body", "requests"]]


def test_listener_who_cannot_be_read_degrades_alone(client: Client) -> None:
    """Only this reply is from popularity; the others are as they would be without it."""
    alone = ask(client, [{"user_id": "u3"}, {"user_id": "u7"}])
    replies = ask(client, [{"user_id": "u3"}, {"user_id": "lost"}, {"user_id": "u7"}])

    assert [reply["source"] for reply in replies] == ["model", "popular", "model"]
    assert [reply["degraded"] for reply in replies] == [False, True, False]
    assert [without_id(reply) for reply in (replies[0], replies[2])] == [without_id(reply) for reply in alone]


def test_batch_beyond_the_queue_is_refused_as_a_whole(artifact: Artifact) -> None:
    """With a problem and Retry-After. Later requests are answered: nothing of the batch stays in the queue.

    What the model runs already when the batch is refused leaves the queue with the run.
    """
    with running(artifact, runner=GatedRunner(), queue_limit=3) as client:
        refused = client.post("/v1/next/batch", json={"requests": [{}] * 5})
        until(lambda: client.post("/v1/next/batch", json={"requests": [{}] * 3}).status_code == 200)

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.headers["content-type"] == "application/problem+json"


def test_metrics_count_the_batch_and_each_reply(client: Client) -> None:
    ask(client, [{"user_id": "u3"}, {"user_id": "lost"}, {"history": []}])
    metrics = client.get("/metrics").text.splitlines()

    assert 'nexttrack_requests_total{method="POST",route="/v1/next/batch",status="200"} 1.0' in metrics
    assert "nexttrack_next_batch_requests_sum 3.0" in metrics
    assert 'nexttrack_proposals_total{arm="current",source="model",version="tiny-1"} 2.0' in metrics
    assert 'nexttrack_proposals_total{arm="current",source="popular",version="tiny-1"} 1.0' in metrics
    assert 'nexttrack_degraded_total{reason="redis",version="tiny-1"} 1.0' in metrics


def test_log_line_has_the_size_and_the_number_of_degraded_replies(artifact: Artifact, tmp_path: Path) -> None:
    store, path = LosesOne(artifact.manifest.history), tmp_path / "log"
    with path.open("wb") as file:
        with running(artifact, store=store, log=LogWriter(file.fileno()), log_level="info") as client:
            ask(client, [{"user_id": "u3"}, {"user_id": "lost"}, {}])
        [line] = map(json.loads, path.read_text(encoding="utf-8").splitlines())

    assert (line["path"], line["status"], line["requests"], line["degraded"]) == ("/v1/next/batch", 200, 3, 1)


def test_batch_weighs_as_its_requests_in_admission_control() -> None:
    """The server is told before anything is read; where it refuses, the batch is refused."""
    told: list[int] = []

    def costs(requests: int) -> bool:
        told.append(requests)
        return len(told) == 1

    scope: Scope = {COSTS: costs}
    weigh(scope, 7)

    with pytest.raises(OverloadedError, match="more requests arrive than are answered in time"):
        weigh(scope, 8)
    assert told == [7, 8]
