"""The training loop: epochs until the validation score stops rising, a checkpoint after each, the best one kept.

A run's folder holds `checkpoint.pt` (weights, optimiser, random state, curves) written in one step. A run that was killed goes
on from it and ends with the very weights that it would have had: batches depend on (seed, epoch) alone, and torch's random
state travels with the checkpoint. Reading a checkpoint runs no code (`weights_only`).
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from model.nets import build
from model.nets.network import Network
from training import baselines
from training.batches import Windows
from training.errors import TrainingError
from training.objective import objective
from training.recipe import FitRule, Recipe
from training.split import Split

CHECKPOINT = "checkpoint.pt"

Validate = Callable[[Network], Mapping[str, float]]
"""Validation scores by name, higher is better for the one that the recipe selects by."""


@dataclass(kw_only=True, slots=True)
class Epoch:
    """What an epoch came to: mean loss terms, validation scores, seconds spent in training steps."""

    number: int
    losses: dict[str, float]
    scores: dict[str, float]
    seconds: float


@dataclass(kw_only=True, slots=True)
class Fitted:
    """A trained network, with the weights of its best epoch, and how it got there."""

    network: Network
    epochs: list[Epoch]
    best: int  # the number of the best epoch
    sequences: int = 0  # windows trained on, over all epochs
    seconds: float = 0.0  # in training steps, validation not counted


class RunError(TrainingError):
    """A run that cannot go on; the text says why."""


def fit(
    recipe: Recipe,
    split: Split,
    validate: Validate,
    *,
    folder: Path,
    artists: Tensor | None = None,
    console: Console | None = None,
) -> Fitted:
    """Train the recipe's network on the split's training part, going on from `folder/checkpoint.pt` where there is one.

    RunError where the checkpoint belongs to another recipe or vocabulary, the loss is no finite number, or the validation part
    gives nothing to select by.
    """
    torch.manual_seed(recipe.seed)
    windows = Windows(split, length=recipe.history.length, targets=recipe.loss.targets)
    network = build(recipe.network, len(split.vocabulary), recipe.history.length, artists)
    prior = baselines.popular(split, half_life_days=recipe.fit.prior_half_life_days)
    network.start_from(torch.from_numpy(prior.values_V))
    run = _Run(recipe=recipe, network=network, optimiser=_optimiser(network, recipe.fit))
    run.identity = {"recipe": recipe.as_dict(), "rows": len(split.vocabulary), "entries": len(windows)}
    folder.mkdir(parents=True, exist_ok=True)
    run.restore(folder / CHECKPOINT)
    with _progress(console) as progress:
        task = progress.add_task(recipe.name, total=recipe.fit.epochs * windows.count(recipe.fit.batch), score="")
        progress.update(task, completed=len(run.epochs) * windows.count(recipe.fit.batch))
        while not run.finished:
            epoch = run.train(windows, lambda: progress.advance(task))
            epoch.scores = _scores(validate, network, recipe.fit.select)
            run.close(epoch)
            run.save(folder / CHECKPOINT)
            progress.update(task, score=f"{recipe.fit.select} {epoch.scores[recipe.fit.select]:.4f}")
    network.load_state_dict(run.best_weights)
    seconds = sum(epoch.seconds for epoch in run.epochs)
    return Fitted(network=network.eval(), epochs=run.epochs, best=run.best, sequences=run.sequences, seconds=seconds)


@dataclass(kw_only=True, slots=True)
class _Run:
    """The state of a run between two epochs: all of it is in the checkpoint."""

    recipe: Recipe
    network: Network
    optimiser: torch.optim.Optimizer
    identity: dict[str, Any] = field(default_factory=dict)
    epochs: list[Epoch] = field(default_factory=list)
    best: int = -1
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    step: int = 0
    sequences: int = 0

    @property
    def finished(self) -> bool:
        done = len(self.epochs)
        return done >= self.recipe.fit.epochs or (done > 0 and done - 1 - self.best >= self.recipe.fit.patience)

    def train(self, windows: Windows, tick: Callable[[], None]) -> Epoch:
        rule = self.recipe.fit
        started = perf_counter()
        sums: dict[str, float] = {}
        batches = 0
        self.network.train()
        for batch in windows.batches(rule.batch, seed=self.recipe.seed, epoch=len(self.epochs)):
            self.step += 1
            for group in self.optimiser.param_groups:
                group["lr"] = rule.learning_rate * min(1.0, self.step / max(1, rule.warmup))
            terms = objective(self.network, batch, self.recipe.loss)
            if not torch.isfinite(terms["loss"]):
                raise RunError(f"the loss became {terms['loss'].item()} at step {self.step}; a lower learning rate may help")
            self.optimiser.zero_grad()
            terms["loss"].backward()  # type: ignore[no-untyped-call] # torch ships it without types
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), rule.clip)
            self.optimiser.step()
            for name, term in terms.items():
                sums[name] = sums.get(name, 0.0) + term.item()
            batches += 1
            self.sequences += len(batch.tracks)
            tick()
        losses = {name: total / batches for name, total in sums.items()}
        return Epoch(number=len(self.epochs), losses=losses, scores={}, seconds=perf_counter() - started)

    def close(self, epoch: Epoch) -> None:
        self.epochs.append(epoch)
        select = self.recipe.fit.select
        if self.best < 0 or epoch.scores[select] > self.epochs[self.best].scores[select]:
            self.best = epoch.number
            self.best_weights = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}

    def save(self, path: Path) -> None:
        draft = path.with_suffix(".draft")
        state = {
            "identity": self.identity,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "random": torch.get_rng_state(),
            "best_weights": self.best_weights,
            "epochs": [{"number": e.number, "losses": e.losses, "scores": e.scores, "seconds": e.seconds} for e in self.epochs],
            "counters": {"best": self.best, "step": self.step, "sequences": self.sequences},
        }
        torch.save(state, draft)
        os.replace(draft, path)

    def restore(self, path: Path) -> None:
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        if state["identity"] != self.identity:
            raise RunError(f"{path} belongs to another run (recipe, seed or log differ); name another run folder or delete it")
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["random"])
        self.best_weights = state["best_weights"]
        self.epochs = [Epoch(**epoch) for epoch in state["epochs"]]
        counters = state["counters"]
        self.best, self.step, self.sequences = counters["best"], counters["step"], counters["sequences"]


def _scores(validate: Validate, network: Network, select: str) -> dict[str, float]:
    scores = dict(validate(network.eval()))
    if select not in scores:
        raise RunError(
            f"the validation part has no case that gives {select}, by which the recipe selects; found {sorted(scores)}"
        )
    return scores


def _optimiser(network: Network, rule: FitRule) -> torch.optim.Optimizer:
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(trained, lr=rule.learning_rate, weight_decay=rule.weight_decay, fused=True)


def _progress(console: Console | None) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[score]}"),
    )
    return Progress(*columns, console=console or Console(stderr=True))
