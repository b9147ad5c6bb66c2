"""What a run leaves on disk after each epoch, and goes on from.

    checkpoint.pt   weights, optimiser, whatever else changes; random states, curves
    best-N.pt       the weights of the best epoch so far, number N

Each is written in one step, the best weights first: a checkpoint never names weights that are not there. They stay on disk,
since a copy in memory of a catalogue of millions is dear. Reading runs no code (`weights_only`).
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from model.nets.network import Network
from training.errors import TrainingError
from training.fitting.ranks import Ranks

CHECKPOINT = "checkpoint.pt"


class RunError(TrainingError):
    """A run that cannot go on; the text says why."""


class Part(Protocol):
    """Something of a run that changes as it goes: the network, its optimiser, the average of its weights."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state: Any, /) -> Any: ...


@dataclass(kw_only=True, slots=True)
class Epoch:
    """What an epoch came to: mean loss terms, validation scores, seconds spent in training steps."""

    number: int
    losses: dict[str, float]
    scores: dict[str, float]
    seconds: float


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The checkpoint in a run's folder; `identity` is what a run must share with the one that it goes on from."""

    folder: Path
    identity: dict[str, Any]

    def exists(self) -> bool:
        """Whether there is something to go on from."""
        return (self.folder / CHECKPOINT).exists()

    def keep(self, network: Network, number: int) -> None:
        """Write the weights of the best epoch so far, before `save` names it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _write(network.state_dict(), self._best(number))

    def save(self, parts: Mapping[str, Part], epochs: list[Epoch], counters: dict[str, int], ranks: Ranks) -> None:
        """Write where a run and its parts stand; all ranks call it, the first one writes."""
        random = ranks.gathered_words(_random_states())
        if not ranks.first:
            return
        state = {
            "identity": self.identity,
            "parts": {name: part.state_dict() for name, part in parts.items()},
            "random": random,
            "epochs": [asdict(epoch) for epoch in epochs],
            "counters": counters,
        }
        _write(state, self.folder / CHECKPOINT)
        for old in set(self.folder.glob("best-*.pt")) - {self._best(counters["best"])}:
            old.unlink()

    def restore(self, parts: Mapping[str, Part], ranks: Ranks) -> tuple[list[Epoch], dict[str, int], int] | None:
        """Load the parts and random states; returns epochs, counters and the number of processes that left them, None where
        there is no checkpoint.

        RunError where the checkpoint is another run's. Random states are each process's own: where now there are more or fewer,
        none is loaded, and who calls decides whether training can go on.
        """
        path = self.folder / CHECKPOINT
        if not self.exists():
            return None
        state = torch.load(path, weights_only=True, mmap=True, map_location="cpu")
        if state["identity"] != self.identity:
            raise RunError(f"{path} belongs to another run (recipe, seed or log differ); name another run folder or delete it")
        for name, part in parts.items():
            part.load_state_dict(state["parts"][name])
        if len(state["random"]) == ranks.count:
            _set_random_states(state["random"][ranks.number])
        return [Epoch(**epoch) for epoch in state["epochs"]], state["counters"], len(state["random"])

    def restore_best(self, network: Network, best: int) -> None:
        """Load the weights of the best epoch."""
        network.load_state_dict(torch.load(self._best(best), weights_only=True, mmap=True, map_location="cpu"))

    def _best(self, number: int) -> Path:
        return self.folder / f"best-{number}.pt"


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A draft that becomes `path` when the block ends well: who reads it meanwhile, or after a kill, finds the old file or the
    new one, never a part. RunError where it cannot be written.
    """
    draft = path.with_suffix(".draft")
    try:
        yield draft
        os.replace(draft, path)
    except (OSError, RuntimeError) as error:  # torch's word for a full disk is a RuntimeError
        raise RunError(f"{path} cannot be written: {error}") from error


def _write(state: dict[str, Any], path: Path) -> None:
    with written_whole(path) as draft:
        torch.save(state, draft)


def _random_states() -> list[Tensor]:
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if torch.cuda.is_available() else [])]


def _set_random_states(states: list[Tensor]) -> None:
    torch.set_rng_state(states[0].clone())
    for state in states[1:]:
        torch.cuda.set_rng_state(state)
