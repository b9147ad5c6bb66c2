"""Which entries a model learns from, which choose its settings, which measure it: split by time, as a service meets them.

An entry belongs to one part; its history may reach into earlier parts, as it does online. The vocabulary is counted on the
training part alone, so a track that came out later is an unknown one, and a case about it is a miss, not left out.

Shapes: N entries, R rows.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.vocabulary import FIRST, UNKNOWN, Vocabulary
from training.log import LogError
from training.recipe import SplitRule
from training.sequences import Int8s, Int64s, Sequences

TRAIN, VALID, TEST = 0, 1, 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Sequences with a part and a row for each entry."""

    sequences: Sequences
    vocabulary: Vocabulary
    part: Int8s  # [N]: TRAIN, VALID, TEST
    row: npt.NDArray[np.int32]  # [N]: the entry's row, UNKNOWN where the training part has not enough of it

    @property
    def counts(self) -> Int64s:
        """How often each row occurs in the training part, [R]."""
        return np.bincount(self.row[self.part == TRAIN], minlength=len(self.vocabulary))


def split(sequences: Sequences, rule: SplitRule) -> Split:
    """Cut by time (or as the log's own split says) and count the vocabulary; LogError where a part is empty."""
    part = _parts(sequences, rule)
    sizes = np.bincount(part, minlength=3)
    if not sizes[TRAIN] or not sizes[TEST]:
        raise LogError(f"the split leaves {sizes[TRAIN]} entries to train on and {sizes[TEST]} to test with; both need some")
    counts = np.bincount(sequences.track[part == TRAIN], minlength=len(sequences.tracks))
    kept = np.flatnonzero(counts >= max(1, rule.min_count))
    if not kept.size:
        raise LogError(f"no track occurs min_count = {rule.min_count} times in the training part; the most is {counts.max()}")
    row_of_track = np.full(len(sequences.tracks), UNKNOWN, np.int32)
    row_of_track[kept] = np.arange(FIRST, FIRST + len(kept), dtype=np.int32)
    return Split(
        sequences=sequences,
        vocabulary=Vocabulary([sequences.tracks[index] for index in kept.tolist()]),
        part=part,
        row=row_of_track[sequences.track],
    )


def _parts(sequences: Sequences, rule: SplitRule) -> Int8s:
    if rule.valid_from is None or rule.test_from is None:
        if (sequences.part >= 0).all():
            return sequences.part
        valid_from, test_from = np.quantile(sequences.at_ms, [1 - rule.valid - rule.test, 1 - rule.test], method="higher")
    else:
        valid_from, test_from = (moment.timestamp() * 1000 for moment in (rule.valid_from, rule.test_from))
    later = np.stack([sequences.at_ms >= valid_from, sequences.at_ms >= test_from])
    parts: Int8s = later.sum(axis=0, dtype=np.int8)
    return parts
