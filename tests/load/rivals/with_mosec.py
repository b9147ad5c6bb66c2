"""mosec: a server in Rust, one worker process in Python, batches of up to 16 that wait at most 2 ms.

mosec reads its own options from the command line, and so do its workers, which import this file again. This file therefore
sets mosec's options there and passes the model's path in the environment.
"""

import os
import sys
from typing import Any

import numpy as np
import onnxruntime
from mosec import Server, Worker  # type: ignore[import-not-found,unused-ignore]  # in an environment of its own

MODEL = os.environ.setdefault("RIVAL_MODEL", sys.argv[2])


class Model(Worker):  # type: ignore[misc,unused-ignore]  # as above
    """One ONNX Runtime session, called with all requests of a batch."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])

    def forward(self, data: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Pad to the longest history and run once."""
        width = max(1, *(len(ask["tracks"]) for ask in data))
        tracks, outcomes = np.zeros((2, len(data), width), np.int64)
        for line, ask in enumerate(data):
            if ask["tracks"]:
                tracks[line, -len(ask["tracks"]) :] = ask["tracks"]
                outcomes[line, -len(ask["outcomes"]) :] = ask["outcomes"]
        count = np.array(max(ask["count"] for ask in data), np.int64)
        feed = {"tracks": tracks, "outcomes": outcomes, "excluded": np.zeros((len(data), 1), np.int64), "count": count}
        rows, scores = self._session.run(["rows", "scores"], feed)
        return [{"rows": row, "scores": score} for row, score in zip(rows.tolist(), scores.tolist(), strict=True)]


if __name__ == "__main__":
    sys.argv[1:] = ["--port", sys.argv[1], "--log-level", "error"]
    server = Server()
    server.append_worker(Model, num=1, max_batch_size=16, max_wait_time=2, route="/next")
    server.run()
