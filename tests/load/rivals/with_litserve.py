"""LitServe: FastAPI in front, a worker process behind a queue, batches of up to 16 that wait at most 2 ms."""

import sys
from typing import Any

import litserve  # type: ignore[import-not-found,unused-ignore]  # in an environment of its own
import numpy as np
import onnxruntime


class Model(litserve.LitAPI):  # type: ignore[misc,unused-ignore]  # as above
    """One ONNX Runtime session, called with all requests of a batch."""

    def setup(self, device: str) -> None:  # noqa: ARG002  # LitServe's signature
        """Load the session in the worker process."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(sys.argv[2], options, providers=["CPUExecutionProvider"])

    def decode_request(self, request: dict[str, Any]) -> dict[str, Any]:
        """Pass the request on as it is."""
        return request

    def batch(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """A list is a batch already."""
        return inputs

    def predict(self, x: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Pad to the longest history and run once."""
        width = max(1, *(len(ask["tracks"]) for ask in x))
        tracks, outcomes = np.zeros((2, len(x), width), np.int64)
        for line, ask in enumerate(x):
            if ask["tracks"]:
                tracks[line, -len(ask["tracks"]) :] = ask["tracks"]
                outcomes[line, -len(ask["outcomes"]) :] = ask["outcomes"]
        count = np.array(max(ask["count"] for ask in x), np.int64)
        feed = {"tracks": tracks, "outcomes": outcomes, "excluded": np.zeros((len(x), 1), np.int64), "count": count}
        rows, scores = self._session.run(["rows", "scores"], feed)
        return [{"rows": row, "scores": score} for row, score in zip(rows.tolist(), scores.tolist(), strict=True)]

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Split the results by request."""
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """Return the result as it is."""
        return output


if __name__ == "__main__":
    api = Model(max_batch_size=16, batch_timeout=0.002, api_path="/next")
    server = litserve.LitServer(api, accelerator="cpu", timeout=30)
    server.run(port=int(sys.argv[1]), log_level="error", generate_client_file=False, access_log=False)
