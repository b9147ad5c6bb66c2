"""Triton through PyTriton: NVIDIA's server in C++, the model call in this process, batches of up to 16 that wait at most 2
ms.

It speaks KServe's protocol, POST /v2/models/next/infer. Triton batches requests of one shape only, so clients pad each
history to the model's 50 places.
"""

import socket
import sys

import numpy as np
import numpy.typing as npt
import onnxruntime
from pytriton.decorators import batch  # type: ignore[import-not-found,unused-ignore]  # in an environment of its own
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor  # type: ignore[import-not-found,unused-ignore]  # as above
from pytriton.triton import Triton, TritonConfig  # type: ignore[import-not-found,unused-ignore]  # as above

Ints = npt.NDArray[np.int64]


def serve(port: int, model: str) -> None:
    """Serve until stopped."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    @batch  # type: ignore[untyped-decorator,unused-ignore]  # as above
    def infer(tracks: Ints, outcomes: Ints, count: Ints) -> dict[str, npt.NDArray[np.generic]]:
        excluded = np.zeros((len(tracks), 1), np.int64)
        feed = {"tracks": tracks, "outcomes": outcomes, "excluded": excluded, "count": np.array(count.max(), np.int64)}
        rows, scores = session.run(["rows", "scores"], feed)
        return {"rows": np.ascontiguousarray(rows, np.int64), "scores": np.ascontiguousarray(scores)}

    config = TritonConfig(http_address="127.0.0.1", http_port=port, grpc_port=_free_port(), allow_metrics=False)
    with Triton(config=config) as triton:
        triton.bind(
            model_name="next",
            infer_func=infer,
            inputs=[Tensor(name=name, dtype=np.int64, shape=(-1,)) for name in ("tracks", "outcomes", "count")],
            outputs=[Tensor(name="rows", dtype=np.int64, shape=(-1,)), Tensor(name="scores", dtype=np.float32, shape=(-1,))],
            config=ModelConfig(max_batch_size=16, batcher=DynamicBatcher(max_queue_delay_microseconds=2_000)),
        )
        triton.serve()


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2])
