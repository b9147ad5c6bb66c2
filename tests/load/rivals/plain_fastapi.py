"""FastAPI that calls ONNX Runtime in the route, as most people write it."""

import sys

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI
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


def create_app(model: str) -> FastAPI:
    """Make the application."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    app = FastAPI()

    @app.post("/next")
    async def post_next(ask: Ask) -> Answer:
        feed = {
            "tracks": np.array([ask.tracks], np.int64),
            "outcomes": np.array([ask.outcomes], np.int64),
            "excluded": np.zeros((1, 1), np.int64),
            "count": np.array(ask.count, np.int64),
        }
        rows, scores = session.run(["rows", "scores"], feed)
        return Answer(rows=rows[0].tolist(), scores=scores[0].tolist())

    return app


if __name__ == "__main__":
    uvicorn.run(create_app(sys.argv[2]), port=int(sys.argv[1]), access_log=False, log_level="error")
