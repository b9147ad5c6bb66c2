"""Several processes train one network: `torchrun --nproc-per-node 2 -m -- training train …`.

Each rank folds the same log, draws the same batches, and reads its share of each batch: every n-th window. Each term of the
loss is weighted by the rank's share of the counted states; for this a few numbers are exchanged before each backward pass.
Gradients are summed. A step is therefore the step of a single process with the whole batch, with two exceptions. Each rank
draws its own random numbers: dropout, entries that `cloze` hides, and sampled tracks (that many for each rank, shared by its
part of the batch). And the penalty on sub-interests is not a mean over states, so several ranks only approximate it.

Rank 0 alone validates, chooses, prints and writes. The others wait for its results. All ranks must see the run's folder.

Why not torch's DistributedDataParallel: it weights all ranks alike, and it reduces sparse gradients of embeddings alone and not
with NCCL. Its advantage is to send while it computes. This gains little where most weights are tables of which few rows are
sent.
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
_PATIENCE = timedelta(hours=6)  # for ranks that wait while rank 0 validates; a rank that dies is noticed at once


@dataclass(frozen=True, slots=True)
class Ranks:
    """The number of this process among the processes of a run, and the communication between them."""

    number: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Return whether this process is rank 0, which validates, prints and writes."""
        return self.number == 0

    def shares(self, counts: Sequence[int]) -> list[float]:
        """Divide each count of this rank by the sum of this count over all ranks. Means weighted by these shares add up to the
        overall mean.

        A single process gets 1. A count that is 0 on every rank gets 0.
        """
        if self.count == 1:
            return [1.0] * len(counts)
        own = torch.tensor(counts, dtype=torch.float64)
        return (own / self.sum(own.clone()).clamp(min=1)).tolist()

    def add_up(self, dense: Iterable[nn.Parameter], by_row: Iterable[nn.Parameter]) -> None:
        """Replace each rank's gradients by the sum over all ranks. A rank may have no gradients."""
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
        """Replace `values` by their sum over all ranks, in place, and return them."""
        if self.count > 1:
            distributed.all_reduce(values)
        return values

    def said_by_first(self, word: Word) -> Word:
        """Send rank 0's value to all ranks, and return this value on each. It must be plain Python data."""
        words = [word]
        if self.count > 1:
            distributed.broadcast_object_list(words)
        return words[0]

    def gathered_words(self, word: Word) -> list[Word]:
        """Return a list with each rank's value, in the order of the ranks."""
        words = [word] * self.count
        if self.count > 1:
            distributed.all_gather_object(words, word)
        return words

    def _gathered(self, table: nn.Parameter) -> Tensor:
        """Return the sum of all ranks' sparse gradients of a table. Ranks have gradients for different rows, so row numbers are
        sent too.
        """
        rows, values = _rows_met(table)
        sizes = [int(size) for size in self.gathered_words(len(rows))]
        padded = [_padded(part, max(sizes)) for part in (rows, values)]
        found = [[torch.empty_like(part) for _ in sizes] for part in padded]
        for into, part in zip(found, padded, strict=True):
            distributed.all_gather(into, part)
        rows, values = (torch.cat([part[:size] for part, size in zip(into, sizes, strict=True)]) for into in found)
        return torch.sparse_coo_tensor(rows[None], values, table.shape, check_invariants=False)


def ranks() -> Ranks:
    """Return this process's rank among those that `joined` has connected, or rank 0 of 1 if it is alone."""
    if distributed.is_available() and distributed.is_initialized():
        return Ranks(distributed.get_rank(), distributed.get_world_size())
    return Ranks()


@contextmanager
def joined() -> Iterator[Ranks]:
    """Connect this process with the others that torchrun has started, during the `with` block. Alone, it does nothing."""
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
    """Return the backend that carries tensors between processes on `place`.

    NCCL carries tensors on GPUs. Gloo carries tensors on the CPU, such as counts and an epoch's sums.
    """
    return "cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo"


def device() -> torch.device:
    """Return the device of this process: a GPU of its own if there is one, else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def _rows_met(table: nn.Parameter) -> tuple[Tensor, Tensor]:
    """Return the rows with a gradient in a table, and their gradients; both empty if it has none."""
    if table.grad is None:
        return torch.zeros(0, dtype=torch.int64, device=table.device), table.new_zeros(0, *table.shape[1:])
    met = table.grad.to_sparse(1).coalesce()
    return met.indices()[0], met.values()


def _padded(part: Tensor, size: int) -> Tensor:
    return torch.cat([part, part.new_zeros(size - len(part), *part.shape[1:])])
