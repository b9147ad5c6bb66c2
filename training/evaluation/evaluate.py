"""Measures a ranker: runs it over every case, ranks the full catalogue, and computes two families of metrics.

A *ranker* scores all tracks for a history: a baseline, a network, or the simulator's own knowledge. It runs in batches whose
scores stay below `SCORES` numbers. So memory does not grow with the number of cases. The *answer* to each case is stored: the
target's rank and score, and the best tracks. `summarise` computes the metrics from answers, wherever they come from:
`replaying.replay` collects them over HTTP.

Shapes: B batch, C cases, V rows of the vocabulary, R rows of some blocks, L places of a list.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isnan, nan
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from torch import Tensor

from model.encoding import Encoded
from model.events import Outcome
from model.vocabulary import FIRST, PADDING, UNKNOWN
from training.data.sequences import Bools, Int32s, Int64s
from training.evaluation import metrics
from training.evaluation.cases import Cases
from training.evaluation.metrics import Floats
from training.evaluation.own_history import disliked_own_rows, session_rows, targets_with_own
from training.progress import SILENT, Steps, progress

LIST = 20
"""Tracks in an answer: the largest k of the metrics."""
SCORES = 1 << 22
"""Largest number of scores held at a time: 16 MB. The system clears the memory of larger arrays each time that it is used anew,
which took half of the time.
"""
BLOCK = 128
"""Rows of a block in the search for the largest scores."""
_AT_LEAST = 8
"""Smallest number of cases that are scored together. On a very large catalogue `SCORES` would hold fewer."""
LENGTHS = (0, 1, 5, 10, 20, 50)
"""Lower limits of the buckets of history length."""


class Ranker(Protocol):
    """A model or baseline that scores all tracks for a history."""

    @property
    def name(self) -> str:
        """Return the ranker's name for the report."""

    def scores(self, batch: Encoded, cases: Cases) -> Floats:
        """Return scores float32 [B, V] of all rows for the histories in `batch`; `cases` are the cases of these histories.

        Higher is better, -inf is never proposed, NaN is an error. The scores of padding, of the unknown track and of disliked
        tracks are overwritten. A ranker that also proposes a listener's unknown tracks has one more column for each, [B, V +
        U], numbered as in `evaluation.own_history`.
        """


class Answers(NamedTuple):
    """A ranker's answers to all cases."""

    rank: Int64s  # [C], rank of the target; metrics.MISS if it is not ranked
    score: Floats  # [C], score of the target; NaN if it is unknown
    lists: Int32s  # [C, L], best first; 0 after the last proposal
    list_scores: Floats  # [C, L]
    rank_masked: Int64s | None = None  # [C], rank of the target if tracks of the session are not proposed; None: not computed


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One ranker's row of the report.

    `values` maps names to metrics (`reporting.report.METRICS` explains them). A metric without any case to measure is missing.

    `counts` has the numbers of cases, of wanted, refused and unknown targets, of users, and of the users and pairs behind AUC
    and pairwise accuracy. It also has the cases and users with anything to read in a history (`read_`), and with anything kept
    in it (`kept_`).

    `by_length` has a mapping for each bucket of history length: from, cases (wanted ones), hr@20, ndcg@10. `by_popularity` has
    one for each third of all plays, from the most played tracks on: tracks, cases, hr@20, ndcg@10.
    """

    name: str
    values: Mapping[str, float]
    counts: Mapping[str, int]
    by_length: Sequence[Mapping[str, float]]
    by_popularity: Sequence[Mapping[str, float]] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values, for the manifest and the report."""
        return asdict(self)


def evaluate(ranker: Ranker, cases: Cases, *, length: int, counts_V: Int64s | None = None, steps: Steps = SILENT) -> Measured:
    """Run a ranker on all `cases`, with histories of at most `length` entries, and compute its metrics. `steps` advances
    `batch_count` times.

    `counts_V` is the play count of each row. With it, hits are also reported by popularity.
    """
    measured = summarise(ranker.name, cases, answer(ranker, cases, length=length, steps=steps), counts_V)
    scores = frozen_scores(ranker, cases, length=length)
    scored = ~np.isnan(scores)
    frozen, _ = metrics.auc_within_users(scores[scored], cases.wanted[scored], cases.user[scored])
    return measured if isnan(frozen) else replace(measured, values={**measured.values, "auc_frozen": frozen})


def answer(ranker: Ranker, cases: Cases, *, length: int, steps: Steps = SILENT) -> Answers:
    """Return a ranker's answer to each case over the full catalogue. ValueError if it scores a track with NaN."""
    count = len(cases)
    # allocated before the loop: small arrays between those of the batches would keep the memory of these from being used again
    columns: list[npt.NDArray[Any]] = [np.zeros(count, np.int64), np.zeros(count, np.float32)]
    columns += [np.zeros((count, LIST), np.int32), np.zeros((count, LIST), np.float32), np.zeros(count, np.int64)]
    stop = 0
    for some in batches(cases, at_a_time(cases), steps):
        start, stop = stop, stop + len(some)
        for column, part in zip(columns, _answer_batch(ranker, some, length), strict=True):
            column[start:stop] = part
    return Answers(*columns)


def frozen_scores(ranker: Ranker, cases: Cases, *, length: int) -> Floats:
    """Return the score of each target [C], with all targets of a listener scored after one history. NaN if a target is unknown.

    This history is the one before the listener's first case. With each case's own history, scores can separate kept from
    refused targets by the mood alone: after a skip all scores are low, and the next skip is likely. An AUC of frozen scores
    measures knowledge of tracks only.
    """
    firsts, owner = np.unique(cases.user, return_index=True)[1], np.unique(cases.user, return_inverse=True)[1]
    scores_C = np.full(len(cases), np.nan, np.float32)
    start = 0
    for batch in batches(cases.take(firsts), at_a_time(cases)):
        scores_BV = _scores(ranker, batch, batch.encode(length))
        mine = np.flatnonzero((owner >= start) & (owner < start + len(batch)) & (cases.target != UNKNOWN))
        scores_C[mine] = scores_BV[owner[mine] - start, cases.target[mine]]
        start += len(batch)
    return scores_C


def summarise(name: str, cases: Cases, answers: Answers, counts_V: Int64s | None = None) -> Measured:
    """Compute all metrics from the answers to `cases`.

    Hit rates, NDCG and MRR are measured on wanted targets, and unknown ones count as misses. Refusal metrics also use refused
    targets. AUC and pairwise accuracy are measured on targets that have a score.
    """
    wanted = cases.wanted
    scored = ~np.isnan(answers.score)
    own = answers.score[scored], wanted[scored], cases.user[scored]
    auc, auc_users = metrics.auc_within_users(*own)
    pairwise, pairs = metrics.pairwise_accuracy(*own)
    rank = answers.rank[wanted]
    values = {
        **{f"hr@{k}": metrics.hit_rate(rank, k) for k in (1, 5, 10, 20)},
        "ndcg@10": metrics.ndcg(rank, 10),
        "mrr@20": metrics.mrr(rank, 20),
        "map@10": metrics.mrr(rank, 10),
        "auc": auc,
        "gauc": metrics.gauc(*own),
        "ndcg_own": metrics.ndcg_among_own(*own),
        "pairwise": pairwise,
        "refused@20": metrics.hit_rate(answers.rank[~wanted], 20),
        "refused_mrr@20": metrics.mrr(answers.rank[~wanted], 20),
        "skipped_hits@20": nan if wanted.all() else metrics.skipped_hits(answers.rank, wanted, 20),
        "coverage@20": metrics.catalogue_coverage(
            np.where(answers.lists[:, :20] < cases.size, answers.lists[:, :20], PADDING), cases.size - FIRST
        ),
        "users@20": metrics.user_coverage(rank, cases.user[wanted], 20),
        **_by_kind(cases, answers.rank),
        "hr@20_after_skip": metrics.hit_rate(answers.rank[wanted & _after_skip(cases)], 20),
    }
    if answers.rank_masked is not None:
        values["hr@20_masked"] = metrics.hit_rate(answers.rank_masked[wanted], 20)
        values["ndcg@10_masked"] = metrics.ndcg(answers.rank_masked[wanted], 10)
    counts = {
        "cases": len(cases),
        "wanted": int(wanted.sum()),
        "refused": int((~wanted).sum()),
        "repeats": int((wanted & cases.repeat).sum()),
        "in_session": int((wanted & cases.in_session).sum()),
        "unknown": int((cases.target == UNKNOWN).sum()),
        "users": len(np.unique(cases.user)),
        "read_cases": int((cases.lengths > 0).sum()),
        "read_users": len(np.unique(cases.user[cases.lengths > 0])),
        "kept_cases": int((cases.kept > 0).sum()),
        "kept_users": len(np.unique(cases.user[cases.kept > 0])),
        "auc_users": auc_users,
        "pairs": pairs,
    }
    return Measured(
        name=name,
        values={key: value for key, value in values.items() if not isnan(value)},
        counts=counts,
        by_length=_by_length(rank, cases.lengths[wanted]),
        by_popularity=() if counts_V is None else _by_popularity(rank, cases.target[wanted], counts_V),
    )


def _by_kind(cases: Cases, rank: Int64s) -> dict[str, float]:
    """Compute the hit rate among wanted targets that are new to the listener, were heard before, or were heard in this
    session.
    """
    kinds = {
        "new": ~cases.repeat,
        "repeat": cases.repeat,
        "before": cases.repeat & ~cases.in_session,
        "session": cases.in_session,
    }
    return {f"hr@20_{kind}": metrics.hit_rate(rank[cases.wanted & mine], 20) for kind, mine in kinds.items()}


def _after_skip(cases: Cases) -> Bools:
    """Return whether the newest play of each history was skipped or disliked, as far as was known then, [C]."""
    last = cases.encode(1).outcomes[:, -1]
    refused: Bools = np.isin(last, (Outcome.SKIPPED, Outcome.DISLIKED))
    return refused


def top_lists(ranker: Ranker, cases: Cases, batch: Encoded) -> Int32s:
    """Return a ranker's best tracks [B, L], best first, for the histories in `batch`. These may differ from the histories of
    `cases`.
    """
    return _best(ranker, _scores(ranker, cases, batch))[0]


def at_a_time(cases: Cases) -> int:
    """Return how many cases to score together, so that there are at most `SCORES` scores; never fewer than `_AT_LEAST`
    cases.
    """
    return max(_AT_LEAST, min(1024, SCORES // cases.size))


def batches(cases: Cases, size: int, steps: Steps = SILENT) -> Iterator[Cases]:
    """Yield the cases in batches of `size`. `steps` advances after each."""
    for start in range(0, len(cases), size):
        yield cases.take(slice(start, start + size))
        steps.advance()


def shown_batches(cases: Cases, size: int, title: str, console: Console | None) -> Iterator[Cases]:
    """Yield the cases in batches of `size`. Progress is shown on `console` under a `title`."""
    with progress(title, batch_count(cases, size), console, transient=True) as steps:
        yield from batches(cases, size, steps)


def batch_count(cases: Cases, size: int) -> int:
    """Return the number of batches of `size`."""
    return len(range(0, len(cases), size))


def masked(scores_BV: Floats, cases: Cases) -> Floats:
    """Set the scores [B, V] of padding, the unknown track and each case's disliked tracks to -inf, in place. Returns the
    scores.
    """
    scores_BV[:, :FIRST] = -np.inf
    np.put_along_axis(scores_BV, cases.excluded(), -np.inf, axis=1)
    if scores_BV.shape[1] > cases.size:
        for line, rows in zip(scores_BV, disliked_own_rows(cases), strict=True):
            line[rows[rows < len(line)]] = -np.inf
    return scores_BV


def largest_scores(scores_BV: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the `count` largest scores of each case and their rows, largest first. A NaN counts as largest.

    They lie in the `count` blocks of rows with the largest maxima. So only these blocks are sorted, in a quarter of the time
    of `topk` for 170,000 rows.
    """
    blocks = scores_BV.shape[1] // BLOCK
    if blocks <= count:
        return scores_BV.topk(count)
    maxima_BC = scores_BV[:, : blocks * BLOCK].view(-1, blocks, BLOCK).amax(2)
    starts_BC = BLOCK * maxima_BC.topk(count).indices
    rest = torch.arange(blocks * BLOCK, scores_BV.shape[1]).expand(len(scores_BV), -1)
    rows_BR = torch.cat([(starts_BC[..., None] + torch.arange(BLOCK)).flatten(1), rest], dim=1)
    best, places = scores_BV.gather(1, rows_BR).topk(count)
    return best, rows_BR.gather(1, places)


def full_lists(rows: npt.NDArray[np.integer], scores: Floats) -> tuple[Int32s, Floats]:
    """Pad lists of fewer than `LIST` places to [B, `LIST`] with row 0 and score -inf. Rows that score -inf become 0, because
    they are not proposed.
    """
    missing = ((0, 0), (0, LIST - rows.shape[1]))
    scores = np.pad(scores, missing, constant_values=-np.inf)
    return np.where(np.isneginf(scores), PADDING, np.pad(rows, missing)).astype(np.int32), scores


def with_share_of_best(
    measured: Sequence[Measured], *, popular: str = "popular", best: str = "best possible"
) -> list[Measured]:
    """Add to each ranker's metrics its share of the best possible, if rankers named `popular` and `best` are in `measured`."""
    named = {one.name: one for one in measured}
    if not {popular, best} <= named.keys():
        return list(measured)
    return [replace(one, values={**one.values, **share_of_best(one, named[popular], named[best])}) for one in measured]


def share_of_best(measured: Measured, popular: Measured, best: Measured) -> dict[str, float]:
    """Return where a ranker stands between popularity (0) and the best possible (1): (model - popular) / (best - popular)."""
    return {
        f"{key}_of_best": (measured.values[key] - popular.values[key]) / (best.values[key] - popular.values[key])
        for key in ("hr@20", "ndcg@10")
        if key in best.values and best.values[key] != popular.values[key]
    }


def _scores(ranker: Ranker, cases: Cases, batch: Encoded) -> Floats:
    return masked(np.require(ranker.scores(batch, cases), np.float32, ["C", "W"]), cases)


def _answer_batch(ranker: Ranker, cases: Cases, length: int) -> Answers:
    scores_BW = _scores(ranker, cases, cases.encode(length))
    lists, list_scores = _best(ranker, scores_BW)
    target = targets_with_own(cases)
    target = np.where(target < scores_BW.shape[1], target, UNKNOWN)  # this ranker may not propose such tracks
    rank = metrics.ranks(scores_BW, target)
    score = np.where(cases.target == UNKNOWN, np.nan, scores_BW[np.arange(len(cases)), cases.target]).astype(np.float32)
    for line, rows in zip(scores_BW, session_rows(cases), strict=True):
        line[rows[rows < len(line)]] = -np.inf
    return Answers(rank, score, lists, list_scores, metrics.ranks(scores_BW, target))


def _best(ranker: Ranker, scores_BV: Floats) -> tuple[Int32s, Floats]:
    best, rows = largest_scores(torch.from_numpy(scores_BV), min(LIST, scores_BV.shape[1]))
    if best.isnan().any():  # topk takes NaN for the greatest value
        raise ValueError(f"{ranker.name} scored a track with NaN")
    return full_lists(rows.numpy(), best.numpy())


def _by_length(rank: Int64s, lengths: Int64s) -> list[dict[str, float]]:
    bucket = np.searchsorted(LENGTHS, lengths, side="right") - 1
    members: list[Bools] = [bucket == number for number in range(len(LENGTHS))]
    return [
        {
            "from": start,
            "cases": int(mine.sum()),
            "hr@20": metrics.hit_rate(rank[mine], 20),
            "ndcg@10": metrics.ndcg(rank[mine], 10),
        }
        for start, mine in zip(LENGTHS, members, strict=True)
        if mine.any()
    ]


def _by_popularity(rank: Int64s, target: Int32s, counts_V: Int64s) -> list[dict[str, float]]:
    """Compute the hit rate for targets among the most played tracks, the middle ones and the rest: a third of all plays each.
    Unknown targets are left out.
    """
    order = np.argsort(-counts_V, kind="stable")
    before = np.cumsum(counts_V[order]) - counts_V[order]
    third_V = np.empty(len(counts_V), np.int64)
    third_V[order] = np.minimum(3 * before // max(1, int(counts_V.sum())), 2)
    third_V[:FIRST] = -1
    third = np.where(target == UNKNOWN, -1, third_V[target])
    return [
        {
            "tracks": int((third_V == number).sum()),
            "cases": int((third == number).sum()),
            "hr@20": metrics.hit_rate(rank[third == number], 20),
            "ndcg@10": metrics.ndcg(rank[third == number], 10),
        }
        for number in range(3)
        if (third == number).any()
    ]
