"""Files between our trainer and a peer's: our split for the peer, and the peer's lists for us.

A peer reads arrays and none of our code. It gets the sequences of the training part, and for each case of the other parts its
history and target, all as rows. It answers with lists. `training.evaluation.metrics` ranks them under the same tie rule as
ours.

Shapes: C cases, L places of a list, S sequences, N entries.
"""

from pathlib import Path

import numpy as np

from model.vocabulary import UNKNOWN
from training.data.split import TRAIN, Split
from training.evaluation.cases import Cases
from training.evaluation.evaluate import Answers, Measured, summarise
from training.evaluation.metrics import ranks_in_lists


def write_split(split: Split, valid: Cases, test: Cases, folder: Path) -> None:
    """Write `train.npz`, `valid.npz` and `test.npz`.

    `train` has `rows` [N], the known tracks of the training part, sequence after sequence, and `offsets` [S + 1]. The others
    have `rows`, where `rows[starts[c]:stops[c]]` is the history of case c, not yet cut to a length; `target` [C]; and
    `wanted` [C], whether the target was kept, because kept targets choose the epoch.
    """
    learned = (split.part == TRAIN) & (split.row != UNKNOWN)
    lengths = np.bincount(split.sequences.sequence[learned], minlength=len(split.sequences))
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths[lengths > 0])])
    np.savez(folder / "train.npz", rows=split.row[learned], offsets=offsets)
    for name, cases in (("valid", valid), ("test", test)):
        columns = {column: getattr(cases, column) for column in ("rows", "starts", "stops", "target", "wanted")}
        np.savez(folder / f"{name}.npz", **columns)


def read_lists(name: str, cases: Cases, path: Path) -> Measured:
    """Measure a peer's `lists` [C, L] and `scores` [C, L], best first, on the cases that it got.

    ValueError if it answered another number of cases. AUC is left out, because the target's own score is unknown.
    """
    found = np.load(path)
    lists, scores = found["lists"].astype(np.int32), found["scores"].astype(np.float32)
    if len(lists) != len(cases):
        raise ValueError(f"{path} has lists for {len(lists)} cases; wanted {len(cases)}")
    unknown = np.full(len(cases), np.nan, np.float32)
    return summarise(name, cases, Answers(ranks_in_lists(lists, scores, cases.target), unknown, lists, scores))
