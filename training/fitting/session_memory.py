"""Build a session memory (`model.nets.session_memory`) from a log, and choose its weight beside the network.

Nothing is trained. A memory of newer sessions replaces an old one in seconds, and the network stays as it is.

A memory of recent sessions is worth more than one of old sessions, and the measured and exported memory knows the validation
part too. So the weight is chosen while the memory knows every second session of the validation part, on cases of the other
sessions. Where a log is split by time this is optimistic: the memory then knows sessions later than a case, which the memory of
the test part cannot know.

Shapes: B batch, C cases, W weights, N remembered, S sessions, V rows.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console

from model.nets.network import Network
from model.nets.session_memory import SessionMemory, Tables
from model.vocabulary import UNKNOWN
from training.data.sequences import Int64s, is_wanted
from training.data.split import TRAIN, VALID, Split
from training.errors import TrainingError
from training.evaluation import metrics
from training.evaluation.baselines import DAY_MS
from training.evaluation.cases import Cases
from training.evaluation.evaluate import at_a_time, masked, shown_batches
from training.evaluation.own_history import targets_with_own
from training.evaluation.rankers import PLAYS_AT_ONCE
from training.evaluation.session_knn import by_session
from training.recipe import SessionMemoryRule


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionMemoryChoice:
    """A weight of the session memory and its scores on validation cases: hr@20, ndcg@10."""

    memory: float
    scores: Mapping[str, float]


def build_session_memory(
    split: Split, rule: SessionMemoryRule, *, parts: Collection[int] = (TRAIN,), weight: float = 0.0
) -> SessionMemory:
    """Build a session memory from the wanted tracks of the newest sessions in `parts`. Raises TrainingError if there are
    none.
    """
    entries, number, _, ended_ms = by_session(split, parts)
    if not len(entries):
        raise TrainingError("the log has no kept play of a track that the network knows; a session memory needs at least one")
    entries, number = (array[number < rule.sessions] for array in (entries, number))
    return SessionMemory(
        tables(split.row[entries], number, ended_ms[: rule.sessions], len(split.vocabulary)), recent=rule.recent, weight=weight
    )


def tables(row: npt.NDArray[np.integer], number: Int64s, ended_ms: Int64s, size: int) -> Tables:
    """Build the tables of a session memory from entries in the order in which they were heard.

    `row` [N] is the track's row, below `size`. `number` [N] is the number of the entry's session, 0 for the newest. `ended_ms`
    [S] is the time at which each session ended.
    """
    # np.unique finds the first of equal pairs
    last = len(row) - 1 - np.unique((number * size + row)[::-1], return_index=True)[1]
    last = last[np.lexsort((last, number[last]))]
    row, number = row[last].astype(np.int64), number[last]
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(row, minlength=size))])
    ages = (ended_ms.max(initial=0) - ended_ms) / DAY_MS
    columns = (row, number, starts, np.lexsort((number, row)), ages.astype(np.float32))
    return Tables(*map(torch.from_numpy, columns))


def choose_session_memory(
    network: Network, split: Split, cases: Cases, rule: SessionMemoryRule, *, length: int, console: Console | None = None
) -> list[SessionMemoryChoice]:
    """Try all weights of the rule on `cases`. Returns all of them with their scores, the one with the best NDCG@10 first. The
    network does not change. Progress is shown on `console`.

    The memory is built from the training part and half of the validation sessions. Only `cases` of the other half are used.
    Returns an empty list if the rule has no weights, no case is left, or there is nothing to remember.

    NDCG decides because hits alone hardly differ between a weight that puts the right track third and one that puts it tenth.
    """
    half = with_half_of_valid(split)
    asked = cases.take(np.flatnonzero(half.part[cases.entry] == VALID))
    if not (rule.weights and len(asked) and is_wanted(split.sequences.outcome[split.known()]).any()):
        return []
    ranks = _ranks(network, build_session_memory(half, rule, weight=1.0), asked, rule.weights, length=length, console=console)
    tried = [
        SessionMemoryChoice(memory=weight, scores={"hr@20": metrics.hit_rate(rank, 20), "ndcg@10": metrics.ndcg(rank, 10)})
        for weight, rank in zip(rule.weights, ranks, strict=True)
    ]
    chosen = max(tried, key=lambda one: one.scores["ndcg@10"])
    return [chosen, *(one for one in tried if one is not chosen)]


def with_half_of_valid(split: Split) -> Split:
    """Return a copy of the split in which every second session of the validation part belongs to the training part."""
    sequences = split.sequences
    entries = np.flatnonzero(split.part == VALID)
    session = sequences.sequence[entries].astype(np.int64) << 32 | sequences.session[entries]
    number = np.unique(session, return_inverse=True)[1]
    part = np.array(split.part)
    part[entries[number % 2 == 1]] = TRAIN
    return replace(split, part=part)


def _ranks(
    network: Network, memory: SessionMemory, cases: Cases, weights: Sequence[float], *, length: int, console: Console | None
) -> list[Int64s]:
    """Return for each weight the ranks of the wanted targets, from one pass over the cases. `memory` must have weight 1."""
    # allocated before the loop: small arrays between those of the batches would keep the memory of these from being used again
    rank_WC, stop = np.zeros((len(weights), len(cases)), np.int64), 0
    items_VQ = network.eval().item_matrix().detach()
    size = at_a_time(cases)
    if network.copy_head is not None:
        size = min(size, max(1, PLAYS_AT_ONCE // network.copy_head.length))
    for some in shown_batches(cases, size, "trying the session memory", console):
        start, stop = stop, stop + len(some)
        read = [torch.from_numpy(array) for array in some.encode(length)]
        with torch.no_grad():
            scores_BV = network.all_scores(network.query(*read), items_VQ)
            if network.copy_head is not None:
                own = tuple(torch.from_numpy(array) for array in some.long_histories(network.copy_head.length))
                scores_BV = network.copy_head.mix(scores_BV, *network.copy_head(own))
            rows_BN, more_BN = memory(*read[:2])
            plain_BN = scores_BV.gather(1, rows_BN)
            target_B = targets_with_own(some)
            target_B = np.where(target_B < scores_BV.shape[1], target_B, UNKNOWN)
            for weight, rank_C in zip(weights, rank_WC, strict=True):
                scores_BV.scatter_(1, rows_BN, plain_BN + weight * more_BN)
                proposed_BV = network.proposable(scores_BV, read[0])
                rank_C[start:stop] = metrics.ranks(masked(proposed_BV.numpy(), some), target_B)
    return [rank_C[cases.wanted] for rank_C in rank_WC]
