"""Runs an artifact's golden cases on its own graph."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from model import artifact
from model.artifact import Golden
from model.encoding import RowHistory, encode_histories, feed
from training.data.sequences import Int64s
from training.evaluation.metrics import Floats
from training.exporting.export import names_of, open_graph


def golden_answers(folder: Path) -> Iterator[tuple[Golden, Int64s, Floats]]:
    """Yield each golden case of the artifact in `folder`, with the rows [1, K] and scores [1, K] that ONNX Runtime computes."""
    loaded = artifact.load(folder)
    session = open_graph(loaded.folder / artifact.MODEL)
    for case in loaded.golden:
        batch = encode_histories([RowHistory(case.rows, case.outcomes, case.gaps)], length=loaded.manifest.history.length)
        others = {
            "excluded": np.array([case.excluded], np.int64).reshape(1, -1),
            "count": np.array(len(case.best)),
            "wanted_weight": np.array(loaded.manifest.wanted_weight, np.float32),
        }
        rows, scores = session.run(None, feed(names_of(session), batch, **others))
        yield case, rows, scores
