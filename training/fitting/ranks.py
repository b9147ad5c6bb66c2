"""Several processes that train one network: `torchrun --nproc-per-node 2 -m training train …`.

Each rank folds the same log, draws the same batches and reads its share of each: every n-th window. Each term of the loss is
weighted by the rank's share of what it counts, for which a few numbers are exchanged before each backward pass, and gradients
are summed. So a step is the one that a single process would have made with the whole batch, but for what every rank draws for
itself: dropout, entries that `cloze` hides, sampled tracks (so many for each rank, which its part of the batch shares). The
penalty on sub-interests is no mean over states, and that of several ranks is only near a single one's. Rank 0 alone validates,
chooses, prints and writes; the others wait for its word. The run's folder must be one that all of them see.

Not torch's DistributedDataParallel, which weighs all ranks alike, and reduces sparse gradients of embeddings alone and not on
NCCL. What it gains, sending while still computing, is little where most weights are tables and of those few rows are sent.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

Word = TypeVar("Word")
_PATIENCE = timedelta(hours=6)  # of ranks that wait while rank 0 validates; a rank that dies is noticed at once


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which of how many processes this one is."""

    number: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that validates, prints and writes."""
        return self.number == 0

    def shares(self, counts: Sequence[int]) -> list[float]:
        """Each of a rank's counts as a part of its sum over the ranks: times these, means of ranks add up to the mean of all.
        1 for a rank that is alone, 0 where nobody counts anything.
        """
        if self.count == 1:
            return [1.0] * len(counts)
        own = torch.tensor(counts, dtype=torch.float64)
        return (own / self.sum(own.clone()).clamp(min=1)).tolist()

    def add_up(self, dense: Iterable[nn.Parameter], by_row: Iterable[nn.Parameter]) -> None:
        """Make the gradients of all ranks their sum; a rank may have none."""
        if self.count == 1:
            return
        dense = list(dense)
        flat = torch.cat([(torch.zeros_like(one) if one.grad is None else one.grad).flatten() for one in dense])
        distributed.all_reduce(flat)
        for one, grad in zip(dense, torch.split(flat, [one.numel() for one in dense]), strict=True):
            one.grad = grad.view_as(one)
        for one in by_row:
            one.grad = self._gathered(one)

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the ranks, in place."""
        if self.count > 1:
            distributed.all_reduce(values)
        return values

    def said_by_first(self, word: Word) -> Word:
        """What rank 0 calls this with, on all ranks, which wait for it. Plain values."""
        words = [word]
        if self.count > 1:
            distributed.broadcast_object_list(words)
        return words[0]

    def gathered_words(self, word: Word) -> list[Word]:
        """What each rank calls this with, by rank."""
        words = [word] * self.count
        if self.count > 1:
            distributed.all_gather_object(words, word)
        return words

    def _gathered(self, table: nn.Parameter) -> Tensor:
        """The sum of all ranks' sparse gradients: ranks meet different rows, so the rows travel too."""
        rows, values = _rows_met(table)
        sizes = [int(size) for size in self.gathered_words(len(rows))]
        padded = [_padded(part, max(sizes)) for part in (rows, values)]
        found = [[torch.empty_like(part) for _ in sizes] for part in padded]
        for into, part in zip(found, padded, strict=True):
            distributed.all_gather(into, part)
        rows, values = (torch.cat([part[:size] for part, size in zip(into, sizes, strict=True)]) for into in found)
        return torch.sparse_coo_tensor(rows[None], values, table.shape, check_invariants=False)


def ranks() -> Ranks:
    """Where this process stands among those that `joined`, or that it is alone."""
    if distributed.is_available() and distributed.is_initialized():
        return Ranks(distributed.get_rank(), distributed.get_world_size())
    return Ranks()


@contextmanager
def joined() -> Iterator[Ranks]:
    """Join the processes that torchrun started beside this one, if it did."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks()
        return
    place = device()
    if place.type == "cuda":
        torch.cuda.set_device(place)
    distributed.init_process_group(backend(place), timeout=_PATIENCE)
    try:
        yield ranks()
    finally:
        distributed.destroy_process_group()


def backend(place: torch.device) -> str:
    """What carries tensors between processes that compute at `place`: NCCL those on GPUs, Gloo those that never leave the CPU,
    as counts and an epoch's sums do.
    """
    return "cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo"


def device() -> torch.device:
    """Where this process computes: a GPU of its own where there is one, else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def _rows_met(table: nn.Parameter) -> tuple[Tensor, Tensor]:
    """The rows of a table's gradient and their values; none where there is no gradient."""
    if table.grad is None:
        return torch.zeros(0, dtype=torch.int64, device=table.device), table.new_zeros(0, *table.shape[1:])
    met = table.grad.to_sparse(1).coalesce()
    return met.indices()[0], met.values()


def _padded(part: Tensor, size: int) -> Tensor:
    return torch.cat([part, part.new_zeros(size - len(part), *part.shape[1:])])
