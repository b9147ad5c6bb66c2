"""The training loop: epochs until the validation score stops rising, with a checkpoint after each; the best one is kept.

A run that was killed continues from its checkpoint and ends with the weights that it would have had. Batches depend on (seed,
epoch) alone, and torch's random state is part of the checkpoint. One process or several can train (`fitting.ranks`), with a
GPU each if there are any. On a GPU the network computes in bfloat16 unless the recipe says otherwise.
"""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import torch
from rich.console import Console
from torch import Tensor

from model.nets import build
from model.nets.network import Network
from training.data.split import Split
from training.evaluation import baselines
from training.fitting.average import Average
from training.fitting.batches import Batch, Windows
from training.fitting.checkpoint import Checkpoint, Epoch, Part, RunError
from training.fitting.cooccurrence import smoothed_vectors
from training.fitting.objective import objective, reads_few_rows, term_names
from training.fitting.optimise import Optimiser, sparse_tables
from training.fitting.ranks import Ranks, device, ranks
from training.progress import progress
from training.recipe import FitRule, LossRule, Recipe

Validate = Callable[[Network], Mapping[str, float]]
"""Returns validation scores by name. Of the score that the recipe selects by, higher is better."""


@dataclass(kw_only=True, slots=True)
class Fitted:
    """A trained network with the weights of its best epoch, and the course of its training."""

    network: Network
    epochs: list[Epoch]
    best: int  # number of the best epoch
    sequences: int = 0  # windows trained on over all epochs
    seconds: float = 0.0  # in training steps, without validation
    start_seconds: float = 0.0  # before the first step: the network and the start of its embeddings


def fit(
    recipe: Recipe,
    split: Split,
    validate: Validate | None,
    *,
    folder: Path,
    artists: Tensor | None = None,
    console: Console | None = None,
) -> Fitted:
    """Train the recipe's network on the training part. Continues from the checkpoint in `folder` if there is one.

    Without `validate`, all of the recipe's epochs are run, and the last weights are kept.

    RunError if the checkpoint belongs to another recipe, vocabulary or log, if another number of processes left it half-way,
    if the loss is not finite, or if the validation part has nothing to select by.
    """
    torch.manual_seed(recipe.seed)
    rule = recipe.fit
    windows = Windows(split, length=recipe.history.length, targets=recipe.loss.targets, newest=rule.windows == "newest")
    checkpoint = Checkpoint(folder, {"recipe": recipe.as_dict(), "data": split.digest()})
    started = perf_counter()
    network = _start(recipe, split, artists, near=recipe.fit.start == "cooccurrence" and not checkpoint.exists())
    start_seconds = perf_counter() - started
    run = _Run(
        recipe=recipe,
        network=network,
        optimiser=Optimiser(network, rule),
        average=Average(network) if rule.average and not sparse_tables(rule, network.rows) else None,
        checkpoint=checkpoint,
    )
    run.restore()
    batches = windows.count(rule.batch)
    shown = (console or Console(stderr=True)) if run.ranks.first else None
    with progress(f"training {recipe.name}", rule.epochs * batches, shown, done=len(run.epochs) * batches) as steps:
        while not run.finished:
            epoch = run.train(windows, steps.advance)
            with nullcontext() if run.average is None else run.average.in_place():
                if run.ranks.first and validate is not None:
                    epoch.scores = _scores(validate, network, rule.select)
                run.judge(run.ranks.said_by_first(epoch))
            run.save()
            if validate is not None:
                steps.note(f"{rule.select} {run.epochs[-1].scores[rule.select]:.4f} after epoch {len(run.epochs)}")
    run.ranks.said_by_first("the last checkpoint is written")
    run.checkpoint.restore_best(network, run.best)
    seconds = sum(epoch.seconds for epoch in run.epochs)
    return Fitted(
        network=network.cpu().eval(),
        epochs=run.epochs,
        best=run.best,
        sequences=run.sequences,
        seconds=seconds,
        start_seconds=start_seconds,
    )


@dataclass(kw_only=True, slots=True)
class _Run:
    """The state of a run between two epochs. The checkpoint contains all of it."""

    recipe: Recipe
    network: Network
    optimiser: Optimiser
    average: Average | None
    checkpoint: Checkpoint
    ranks: Ranks = field(default_factory=ranks)
    epochs: list[Epoch] = field(default_factory=list)
    best: int = -1
    step: int = 0
    sequences: int = 0

    @property
    def finished(self) -> bool:
        done = len(self.epochs)
        return done >= self.recipe.fit.epochs or (done > 0 and done - 1 - self.best >= self.recipe.fit.patience)

    def train(self, windows: Windows, tick: Callable[[], None]) -> Epoch:
        rule, me = self.recipe.fit, self.ranks
        started = perf_counter()
        sums = dict.fromkeys((*term_names(self.recipe.loss), "loss"), 0.0)
        batches = sequences = 0
        self.network.train()
        order = {"seed": self.recipe.seed, "epoch": len(self.epochs), "rank": me.number, "ranks": me.count}
        for batch in windows.batches(rule.batch, **order):
            self.step += 1
            for name, term in self._learn(batch).items():
                sums[name] += term.item()
            me.add_up(self.optimiser.dense, self.optimiser.sparse)
            self.optimiser.step(self.step, len(self.epochs))
            if self.average is not None:
                self.average.follow(self.step)
            batches += 1
            sequences += len(batch.tracks)
            tick()
        losses = dict(zip(sums, me.sum(torch.tensor([*sums.values()]) / batches).tolist(), strict=True))
        self.sequences += int(me.sum(torch.tensor(sequences)))
        return Epoch(number=len(self.epochs), losses=losses, scores={}, seconds=perf_counter() - started)

    def _learn(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the loss terms and gradients of a batch on this process's device. Raises RunError if the loss is not
        finite.
        """
        place = device()
        moved = Batch(*(part.to(place, non_blocking=True) for part in batch))
        found = learn(self.network, moved, self.recipe.loss, self.ranks, half=_half(self.recipe.fit, place))
        if not torch.isfinite(found["loss"]):
            raise RunError(f"the loss became {found['loss'].item()} at step {self.step}; a lower learning rate may help")
        return found

    def judge(self, epoch: Epoch) -> None:
        """Add an epoch to the record. If its score is the best so far, or if there are no scores, write its weights as the best
        ones.
        """
        self.epochs.append(epoch)
        select = self.recipe.fit.select
        if self.best < 0 or not epoch.scores or epoch.scores[select] > self.epochs[self.best].scores[select]:
            self.best = epoch.number
            if self.ranks.first:
                self.checkpoint.keep(self.network, self.best)

    def save(self) -> None:
        """Write a checkpoint."""
        counters = {"best": self.best, "step": self.step, "sequences": self.sequences}
        self.checkpoint.save(self._parts, self.epochs, counters, self.ranks)

    @property
    def _parts(self) -> dict[str, Part]:
        average: dict[str, Part] = {} if self.average is None else {"average": self.average}
        return {"network": self.network, "optimiser": self.optimiser, **average}

    def restore(self) -> None:
        """Continue from the checkpoint, if there is one. Raises RunError if training is not finished and another number of
        processes wrote it.
        """
        found = self.checkpoint.restore(self._parts, self.ranks)
        if found is None:
            return
        self.epochs, counters, left_by = found
        self.best, self.step, self.sequences = counters["best"], counters["step"], counters["sequences"]
        if left_by != self.ranks.count and not self.finished:
            raise RunError(
                f"the run in {self.checkpoint.folder} was left by {left_by} process(es), this is one of {self.ranks.count}: "
                f"its random numbers cannot go on; start {left_by} (torchrun --nproc-per-node), or name another run folder"
            )


def learn(network: Network, batch: Batch, rule: LossRule, me: Ranks, *, half: bool = False) -> dict[str, Tensor]:
    """Compute this process's share of the loss terms of a batch, and their gradients. Returns the terms and their sum `loss`.

    The gradients are stored in the parameters. There are none if the share is empty. All ranks must call it.
    """
    terms = objective(network, batch, rule, half=half)
    shares = me.shares([term.counted for term in terms.values()])
    parts = {name: share * term.mean for share, (name, term) in zip(shares, terms.items(), strict=True)}
    loss = torch.stack([*parts.values()]).sum()
    if len(batch.tracks):
        loss.backward()  # type: ignore[no-untyped-call] # torch ships it without types
    return {**parts, "loss": loss}


def _start(recipe: Recipe, split: Split, artists: Tensor | None, *, near: bool) -> Network:
    """Make the network as it is before the first step. With `near`, tracks that were kept near each other get similar
    embeddings.

    Otherwise embeddings are random, which is enough if a checkpoint will replace them. Each rank then gets its own random seed.
    """
    network = build(recipe.network, len(split.vocabulary), recipe.history.length, artists)
    prior = baselines.popular(split, half_life_days=recipe.fit.prior_half_life_days)
    network.start_from_popularity(torch.from_numpy(prior.values_V))
    if near:
        network.start_from_vectors(smoothed_vectors(split, recipe.network.width, seed=recipe.seed))
    if sparse_tables(recipe.fit, network.rows) or reads_few_rows(recipe.loss, network.rows):
        network.make_sparse()
    if not ranks().first:
        torch.manual_seed(recipe.seed + 1_000_000 * ranks().number)
    return network.to(device())


def _half(rule: FitRule, place: torch.device) -> bool:
    return rule.precision == "bfloat16" or (rule.precision == "auto" and place.type == "cuda")


def _scores(validate: Validate, network: Network, select: str) -> dict[str, float]:
    scores = dict(validate(network.eval()))
    if select not in scores:
        raise RunError(
            f"the validation part has no case that gives {select}, by which the recipe selects; found {sorted(scores)}"
        )
    return scores
