"""The files that a run writes after each epoch and continues from.

    checkpoint.pt   weights, optimiser state and all other state; random states, curves
    best-N.pt       the weights of the best epoch so far, number N

Each file is written in one step. The best weights are written first, so the weights that a checkpoint names always exist. They
stay on disk because a second copy in memory is expensive for a catalogue of millions. Reading them runs no code
(`weights_only`).
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Protocol

import torch
from torch import Tensor

from model.nets.network import Network
from training.errors import TrainingError
from training.fitting.ranks import Ranks

CHECKPOINT = "checkpoint.pt"
_ANEW = "`--anew` with the same train command starts anew"


class RunError(TrainingError):
    """The run cannot continue. The text says why."""


class Part(Protocol):
    """Something that changes during training and belongs to a checkpoint: the network, its optimiser, the average of its
    weights.
    """

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state: Any, /) -> Any: ...


@dataclass(kw_only=True, slots=True)
class Epoch:
    """The record of one epoch: mean loss terms, validation scores, and the seconds spent in training steps."""

    number: int
    losses: dict[str, float]
    scores: dict[str, float]
    seconds: float


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The checkpoint in a run's folder. A run may continue from it only if their `identity` is the same."""

    folder: Path
    identity: dict[str, Any]

    def exists(self) -> bool:
        """Return whether there is a checkpoint to continue from."""
        return (self.folder / CHECKPOINT).exists()

    def keep(self, network: Network, number: int) -> None:
        """Write the network's weights as those of the best epoch, `number`. Call it before `save`, which names this epoch."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _write(network.state_dict(), self._best(number))

    def save(self, parts: Mapping[str, Part], epochs: list[Epoch], counters: dict[str, int], ranks: Ranks) -> None:
        """Write the state of the run and of its parts. All processes must call it; only rank 0 writes."""
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
        """Load the parts and random states. Returns epochs, counters and the number of processes that wrote the checkpoint.

        Returns None if there is no checkpoint. RunError if it is of another run, damaged, or of another version.
        Random states are each process's own. If the number of processes has changed, none is loaded, and the caller decides
        whether training can go on.
        """
        path = self.folder / CHECKPOINT
        if not self.exists():
            return None
        state = _read(path)
        if state.get("identity") != self.identity:
            raise RunError(f"{path} was left by another run: its recipe or its data differ. {_ANEW}")
        try:
            for name, part in parts.items():
                part.load_state_dict(state["parts"][name])
            if len(state["random"]) == ranks.count:
                _set_random_states(state["random"][ranks.number])
            return [Epoch(**epoch) for epoch in state["epochs"]], state["counters"], len(state["random"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise RunError(f"{path} is of another version ({_one_line(error)}). {_ANEW}") from error

    def restore_best(self, network: Network, best: int) -> None:
        """Load the weights of the best epoch. RunError if they are missing, damaged or of another network."""
        path = self._best(best)
        try:
            network.load_state_dict(_read(path))
        except (KeyError, TypeError, RuntimeError) as error:
            raise RunError(f"{path} has the weights of another network ({_one_line(error)}). {_ANEW}") from error

    def _best(self, number: int) -> Path:
        return self.folder / f"best-{number}.pt"


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a draft that becomes `path` when the block ends without an error.

    A reader finds the old file or the new one, never a part of it, also after a kill. RunError if it cannot be written.
    """
    draft = path.with_suffix(".draft")
    try:
        yield draft
        os.replace(draft, path)
    except (OSError, RuntimeError) as error:  # torch raises RuntimeError on a full disk
        raise RunError(f"{path} cannot be written: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, weights_only=True, mmap=True, map_location="cpu")
    except (OSError, EOFError, RuntimeError, ValueError, UnpicklingError) as error:
        raise RunError(f"{path} cannot be read ({_one_line(error)}). {_ANEW}") from error
    if not isinstance(state, dict):
        raise RunError(f"{path} holds {type(state).__name__}, wanted a dictionary. {_ANEW}")
    return state


def _one_line(error: Exception) -> str:
    """Return the beginning of an error's text as one line of at most 200 characters, because torch's texts have many lines."""
    return " ".join(str(error).split())[:200]


def _write(state: dict[str, Any], path: Path) -> None:
    with written_whole(path) as draft:
        torch.save(state, draft)


def _random_states() -> list[Tensor]:
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if torch.cuda.is_available() else [])]


def _set_random_states(states: list[Tensor]) -> None:
    torch.set_rng_state(states[0].clone())
    for state in states[1:]:
        torch.cuda.set_rng_state(state)
