"""Several processes that train one network: `torchrun --nproc-per-node 2 -m training train …`.

Each rank folds the same log, draws the same batches and reads its share of each: every n-th window. Gradients are summed over
the ranks, each weighted by the targets that it had, so a step is the one that a single process would have made with the whole
batch, but for dropout and sampled tracks, which every rank draws for itself. Rank 0 alone validates, prints and writes; the
others wait for its word. The run's folder must be one that all of them see.

Not torch's DistributedDataParallel, which weighs all ranks alike, and reduces sparse gradients of embeddings alone and not on
NCCL. What it gains, sending while still computing, is little where most weights are tables and of those few rows are sent.
"""

import os
from collections.abc import Iterable, Iterator
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

    def reduce(self, dense: Iterable[nn.Parameter], by_row: Iterable[nn.Parameter], share: float) -> None:
        """Make the gradients of all ranks their mean, weighted by `share` (0 where a rank had nothing to learn from)."""
        if self.count == 1:
            return
        dense = list(dense)
        given = [torch.zeros_like(one) if one.grad is None else one.grad for one in dense]
        flat = torch.cat([*(grad.flatten() * share for grad in given), given[0].new_tensor([share])])
        distributed.all_reduce(flat)
        total = flat[-1].clamp(min=1e-9)
        for one, grad in zip(dense, torch.split(flat[:-1] / total, [one.numel() for one in dense]), strict=True):
            one.grad = grad.view_as(one)
        for one in by_row:
            one.grad = self._gathered(one, share / float(total))

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the ranks."""
        if self.count > 1:
            distributed.all_reduce(values)
        return values / self.count

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

    def _gathered(self, table: nn.Parameter, scale: float) -> Tensor:
        """The sum of all ranks' sparse gradients, each times its `scale`: ranks meet different rows, so the rows travel too."""
        own = torch.zeros_like(table, layout=torch.sparse_coo) if table.grad is None else table.grad
        own = own.to_sparse(1).coalesce()
        rows, values = own.indices()[0], own.values() * scale
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


def _padded(part: Tensor, size: int) -> Tensor:
    return torch.cat([part, part.new_zeros(size - len(part), *part.shape[1:])])
