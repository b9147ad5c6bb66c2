"""How refused requests are worded."""

import pytest

from model.artifact import Artifact
from tests.service.applications import running


@pytest.mark.parametrize(
    ("body", "loc", "msg"),
    [
        (b'{"user_id": "u", "cuont": 3}', ["body", "cuont"], "there is no such field"),
        (b'{"history": ["t1"]}', ["body", "history", 0], "expected an object"),
        (b'{"user_id": ', ["body", 12], "this is no JSON: Expecting value"),
        (b'{"candidates": [%s"t"]}' % (b'"t",' * 10_000), ["body", "candidates"], "found 10001 items; expected at most 10000"),
    ],
)
def test_fault_in_a_body_is_said_in_terms_of_json(artifact: Artifact, body: bytes, loc: list[str | int], msg: str) -> None:
    """The validator's own words ("extra inputs", "after validation") are those of Python."""
    with running(artifact) as client:
        reply = client.post("/v1/next", content=body, headers={"Content-Type": "application/json"})

    assert (reply.status_code, reply.json()["errors"]) == (422, [{"loc": loc, "msg": msg}])


def test_empty_batch_says_how_many_it_wants(artifact: Artifact) -> None:
    with running(artifact) as client:
        reply = client.post("/v1/next/batch", json={"requests": []})

    assert reply.json()["errors"] == [{"loc": ["body", "requests"], "msg": "found 0 items; expected at least 1"}]
