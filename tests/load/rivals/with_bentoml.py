"""BentoML: an ASGI server in front of one worker, with adaptive batches of up to 16.

A batchable route takes one argument, a list. A request is therefore `{"asks": [{"tracks", "outcomes", "count"}]}`, a list of
one. `bentoml serve` imports this file again, so the model's path is passed in the environment.
"""

import os
import sys
from pathlib import Path

import bentoml  # type: ignore[import-not-found,unused-ignore]  # in an environment of its own
import numpy as np
import onnxruntime
from pydantic import BaseModel


class Ask(BaseModel):
    """A history as rows."""

    tracks: list[int]
    outcomes: list[int]
    count: int


class Answer(BaseModel):
    """The best rows and their scores."""

    rows: list[int]
    scores: list[float]


@bentoml.service(workers=1, traffic={"timeout": 30})  # type: ignore[untyped-decorator,unused-ignore]  # as above
class Model:
    """One ONNX Runtime session, called with all requests of a batch."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        model = os.environ["RIVAL_MODEL"]
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    @bentoml.api(route="/next", batchable=True, max_batch_size=16, max_latency_ms=10_000)  # type: ignore[untyped-decorator,unused-ignore]  # as above
    def next(self, asks: list[Ask]) -> list[Answer]:
        """Pad to the longest history and run once."""
        width = max(1, *(len(ask.tracks) for ask in asks))
        tracks, outcomes = np.zeros((2, len(asks), width), np.int64)
        for line, ask in enumerate(asks):
            if ask.tracks:
                tracks[line, -len(ask.tracks) :] = ask.tracks
                outcomes[line, -len(ask.outcomes) :] = ask.outcomes
        count = np.array(max(ask.count for ask in asks), np.int64)
        feed = {"tracks": tracks, "outcomes": outcomes, "excluded": np.zeros((len(asks), 1), np.int64), "count": count}
        rows, scores = self._session.run(["rows", "scores"], feed)
        return [Answer(rows=row, scores=score) for row, score in zip(rows.tolist(), scores.tolist(), strict=True)]


if __name__ == "__main__":
    os.environ.update(RIVAL_MODEL=sys.argv[2], BENTOML_DO_NOT_TRACK="True")
    serve = ["serve", f"{Path(__file__).stem}:Model", "--working-dir", str(Path(__file__).parent)]
    command = [sys.executable, "-m", "bentoml", *serve, "--host", "127.0.0.1", "--port", sys.argv[1]]
    os.execv(sys.executable, command)  # noqa: S606  # replaces this process, so that stopping it also stops its worker
