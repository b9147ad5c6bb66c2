"""Filling a memory (`model.nets.memory`) with the sessions of a log, and choosing what it weighs beside the network.

Nothing is trained: a memory of other, newer sessions takes the place of one in seconds, and the network stays as it is. What
it weighs is chosen on validation cases while it knows the training part alone; after that it may know whatever came before the
moment it is asked about, as the baselines do.

Shapes: B batch, C cases, V rows.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from model.nets.memory import Memory, Tables
from model.nets.network import Network
from training.data.sequences import Int64s, is_wanted
from training.data.split import TRAIN, Split
from training.evaluation.baselines import DAY_MS
from training.evaluation.cases import Cases
from training.evaluation.evaluate import answer, summarise
from training.evaluation.rankers import NetworkRanker
from training.evaluation.session_knn import by_session
from training.recipe import MemoryRule


@dataclass(frozen=True, kw_only=True, slots=True)
class Remembering:
    """A memory's weight and the validation score that it came to."""

    memory: float
    score: float


def remember(split: Split, rule: MemoryRule, *, parts: Collection[int] = (TRAIN,), weight: float = 0.0) -> Memory:
    """A memory of the wanted tracks of the newest sessions in `parts`."""
    entries, number, _, ended_ms = by_session(split, parts)
    entries, number = (array[number < rule.sessions] for array in (entries, number))
    return Memory(
        tables(split.row[entries], number, ended_ms[: rule.sessions], len(split.vocabulary)), recent=rule.recent, weight=weight
    )


def tables(row: npt.NDArray[np.integer], number: Int64s, ended_ms: Int64s, size: int) -> Tables:
    """The tables of entries in the order in which they were heard: their rows [N] below `size`, the numbers of their sessions
    [N], newest 0, and when each session ended [S].
    """
    last = len(row) - 1 - np.unique((number * size + row)[::-1], return_index=True)[1]  # of equal pairs it finds the first
    last = last[np.lexsort((last, number[last]))]
    row, number = row[last].astype(np.int64), number[last]
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(row, minlength=size))])
    ages = (ended_ms.max(initial=0) - ended_ms) / DAY_MS
    columns = (row, number, starts, np.lexsort((number, row)), ages.astype(np.float32))
    return Tables(*map(torch.from_numpy, columns))


def weigh_memory(
    network: Network, split: Split, cases: Cases, rule: MemoryRule, *, select: str, length: int
) -> list[Remembering]:
    """Give the network a memory of the training part with the weight that scores best in `select` on `cases`; returns all that
    were tried, the one taken first. Empty, and nothing done, where the rule has no weights, there are no cases, or nothing to
    remember.
    """
    if not (rule.weights and len(cases) and is_wanted(split.sequences.outcome[split.known()]).any()):
        return []
    network.memory = remember(split, rule)
    tried = []
    for weight in rule.weights:
        network.memory.weight.fill_(weight)
        values = summarise("", cases, answer(NetworkRanker.of("", network), cases, length=length)).values
        tried.append(Remembering(memory=weight, score=values[select]))
    taken = max(tried, key=lambda one: one.score)
    network.memory.weight.fill_(taken.memory)
    return [taken, *(one for one in tried if one is not taken)]
