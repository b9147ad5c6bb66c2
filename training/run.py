"""The steps of a run, from a log to an artifact: train, measure, publish.

This module connects the other modules. Every choice is in the recipe.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from rich.console import Console
from torch import Tensor

from model.catalogue_index import CatalogueIndex
from model.encoding import RowHistory
from model.nets.copy_head import CopyHead
from model.nets.network import Network
from model.vocabulary import UNKNOWN
from training.data.catalogue import artists_of, catalogue_of, with_new_tracks
from training.data.log import Log
from training.data.sequences import build
from training.data.split import TEST, TRAIN, VALID, Split, doubts, numbered, with_valid
from training.evaluation import baselines
from training.evaluation.cases import Cases, select_cases
from training.evaluation.evaluate import (
    Answers,
    Measured,
    Ranker,
    answer,
    at_a_time,
    batch_count,
    evaluate,
    summarise,
    with_share_of_best,
)
from training.evaluation.metrics import MISS
from training.evaluation.own_history import own_history
from training.evaluation.rankers import BestPossible, NetworkRanker
from training.evaluation.response import response
from training.evaluation.rules import Effect, effects
from training.evaluation.session_knn import session_knn
from training.exporting.export import STEPS, export
from training.exporting.take_downs import TakeDowns, rows_taken_down
from training.fitting.calibration import Calibration, apply_calibration, choose_calibration
from training.fitting.checkpoint import RunError
from training.fitting.copy_head import CopyHeadChoice, fit_copy_head, restored
from training.fitting.fit import Fitted, fit
from training.fitting.new_tracks import add_new_tracks
from training.fitting.ranks import ranks
from training.fitting.session_memory import SessionMemoryChoice, build_session_memory, choose_session_memory
from training.progress import progress
from training.reporting.examples import Example, draw_examples
from training.reporting.verdict import BEST_POSSIBLE, POPULAR
from training.run_folder import CALIBRATION, COPY_HEAD, REFIT, SESSION_MEMORY, Run, write_json
from training.simulator.truth import read_truth

Tried = TypeVar("Tried", Calibration, CopyHeadChoice, SessionMemoryChoice)


def train(run: Run, console: Console) -> Fitted:
    """Train the recipe's network. The validation part chooses the epoch, and then the calibration, copy head and session
    memory.

    If the recipe says `refit`, the network is trained again on both parts with these choices. A killed run continues from its
    checkpoint.
    """
    cases = select_cases(run.split, VALID, cap=run.recipe.fit.valid_cases)

    def validate(network: Network) -> Mapping[str, float]:
        ranker = NetworkRanker.of(run.recipe.name, network)
        return summarise(ranker.name, cases, answer(ranker, cases, length=run.recipe.history.length)).values

    if run.recipe.name in (POPULAR, BEST_POSSIBLE):
        raise RunError(f"a recipe cannot be called {run.recipe.name!r}: reports have a row of this name")
    _check_selection(run, cases)
    artists = artists_of(run.log, run.split)
    fitted = fit(run.recipe, run.split, validate, folder=run.folder, artists=artists, console=console)
    weights = _choose(run, fitted.network, cases, console)
    return _refit(run, fitted, weights, artists, console) if run.recipe.fit.refit else fitted


def _check_selection(run: Run, cases: Cases) -> None:
    """Check before training that the validation part can give the score that selects the epoch. RunError if not."""
    score = np.where(cases.target == UNKNOWN, np.nan, 0.0).astype(np.float32)
    lists = np.zeros((len(cases), 1))
    answers = Answers(np.full(len(cases), MISS), score, lists.astype(np.int32), lists.astype(np.float32))
    possible = summarise("nobody", cases, answers).values
    name, select = run.recipe.name, run.recipe.fit.select
    if select not in possible:
        others = [other for other in ("ndcg@10", "hr@20", "mrr@20", "auc") if other in possible]
        raise RunError(
            f"the validation part has {len(cases)} cases and cannot give {select}, by which recipe {name} selects its epoch; "
            f"it gives {', '.join(others) or 'no such score'}. Train on a larger log, or set split.valid or fit.select"
        )


def _choose(run: Run, network: Network, cases: Cases, console: Console) -> Calibration | None:
    """Choose calibration, copy head and session memory on `cases`, once for each run, and apply them. Returns the calibration.

    Rank 0 chooses. All ranks apply the choice, also one that an earlier command made.
    """
    recipe, length = run.recipe, run.recipe.history.length
    tried = _once(
        run.folder / CALIBRATION,
        Calibration,
        lambda: choose_calibration(
            network, run.split, cases, recipe.calibration, length=length, targets=recipe.loss.targets, console=console
        ),
    )
    if tried:
        apply_calibration(network, run.split, tried[0], recipe.loss.targets)
        if ranks().first:
            console.print(_said_of_weights(tried[0]), soft_wrap=True)
    heads = _once(
        run.folder / COPY_HEAD,
        CopyHeadChoice,
        lambda: fit_copy_head(network, cases, recipe.copy_head, length=length, seed=recipe.seed, console=console),
    )
    if heads:
        if heads[0].start is not None:
            network.copy_head = restored(heads[0], network.rows, recipe.copy_head.length)
        if ranks().first:
            console.print(_said_of_head(heads[0], network.copy_head), soft_wrap=True)
    memories = _once(
        run.folder / SESSION_MEMORY,
        SessionMemoryChoice,
        lambda: choose_session_memory(network, run.split, cases, recipe.session_memory, length=length, console=console),
    )
    if memories:
        if memories[0].memory:
            network.session_memory = build_session_memory(run.split, recipe.session_memory, weight=memories[0].memory)
        if ranks().first:
            console.print(_said_of_memory(memories[0]), soft_wrap=True)
    return tried[0] if tried else None


def _said_of_weights(choice: Calibration) -> str:
    return (
        f"chosen on validation: weight {choice.wanted:g} for the head that predicts what is kept (wanted), "
        f"and {choice.theta:g} for how often a track is skipped (theta)"
    )


def _said_of_head(choice: CopyHeadChoice, head: CopyHead | None) -> str:
    if head is None:
        return "copy head: none, because the network alone is better on validation"
    learned = f"share {head.share.item():.2f}, shift {choice.shift:g}, from {choice.start}"
    return f"copy head: listeners' own pasts are read, because that is better on validation ({learned})"


def _said_of_memory(choice: SessionMemoryChoice) -> str:
    if not choice.memory:
        return "session memory: none, because the lists without it are as good on validation"
    return f"session memory: used with weight {choice.memory:g}, because that is better on validation"


def _once(path: Path, kind: type[Tried], choose: Callable[[], list[Tried]]) -> list[Tried]:
    """Return on all ranks the choices in the file `path`. If there is none, rank 0 calls `choose` and writes the file.

    RunError if another version wrote the file.
    """
    tried: list[Tried] = []
    if ranks().first and path.exists():
        try:
            tried = [kind(**one) for one in json.loads(path.read_text("utf-8"))]
        except (TypeError, ValueError) as error:
            raise RunError(f"{path} is of another version ({error}); delete it, and what it holds is chosen anew") from error
    elif ranks().first:
        tried = choose()
        if tried:
            write_json(path, [asdict(one) for one in tried])
    return ranks().said_by_first(tried)


def _refit(run: Run, chosen: Fitted, weights: Calibration | None, artists: Tensor | None, console: Console) -> Fitted:
    """Train the network again on training and validation parts, for as many epochs as `chosen` needed.

    Nothing is measured after an epoch, since no part is left to choose by. The result keeps the curves of the first training;
    its cost is the sum of both.
    """
    memory, chosen.network.session_memory = chosen.network.session_memory, None
    head, chosen.network.copy_head = chosen.network.copy_head, None
    chosen.network.to("meta")  # frees its weights, which may be gigabytes and are not needed any more
    recipe, known = run.recipe, with_valid(run.split)
    recipe = replace(recipe, fit=replace(recipe.fit, epochs=chosen.best + 1))
    anew = fit(recipe, known, None, folder=run.folder / REFIT, artists=artists, console=console)
    if weights is not None:
        apply_calibration(anew.network, known, weights, recipe.loss.targets)
    anew.network.session_memory, anew.network.copy_head = memory, head
    return replace(
        chosen,
        network=anew.network,
        sequences=chosen.sequences + anew.sequences,
        seconds=chosen.seconds + anew.seconds,
        start_seconds=chosen.start_seconds + anew.start_seconds,
    )


def complete(run: Run, network: Network, newer: Log | None = None) -> Run:
    """Complete a trained network with what needs no training: new tracks, and newer sessions in its session memory.

    Returns the run with the network's vocabulary. It is longer than that of the training if the recipe asks for `new_tracks`.
    """
    if run.recipe.new_tracks:
        run = replace(run, split=with_new_tracks(run.split, run.log))
        catalogue = catalogue_of(run.log, run.split)
        if catalogue is not None:
            add_new_tracks(network, catalogue)
    refresh_session_memory(run, network, newer)
    return run


def refresh_session_memory(run: Run, network: Network, newer: Log | None = None) -> None:
    """Fill the network's session memory with all sessions before the test part, or with the sessions of the log `newer`.

    RunError if a newer log is given and the network has no session memory.
    """
    if network.session_memory is None:
        if newer is not None:
            raise RunError(
                f"the network in {run.folder} remembers no sessions, so {newer.folder} changes nothing; see [session_memory]"
            )
        return
    seen = run.split if newer is None else numbered(build(newer, run.recipe.history), run.split.vocabulary)
    weight = network.session_memory.weight.item()
    network.session_memory = build_session_memory(seen, run.recipe.session_memory, parts=(TRAIN, VALID), weight=weight)


def measure(run: Run, fitted: Fitted, console: Console, *, cap: int | None = None) -> tuple[list[Measured], list[Example]]:
    """Measure the network and all baselines on the test part, over the full catalogue. Also returns examples of proposals.

    For a simulated log, the best possible ranking comes first.
    """
    run = complete(run, fitted.network)
    for doubt in doubts(run.split):
        console.print(f"warning: {doubt}", style="yellow", markup=False)
    cases = select_cases(run.split, TEST, cap=cap)
    model = NetworkRanker.of(run.recipe.name, fitted.network)
    rankers: list[Ranker] = [*best_possible(run), model, *baseline_rankers(run.split)]
    measured = with_share_of_best(measure_all(run, rankers, cases, console))
    return measured, draw_examples(model, cases, run.log, length=run.recipe.history.length)


def measure_rules(run: Run, fitted: Fitted, console: Console, cap: int | None = None) -> list[Effect]:
    """Measure the network's lists on the test part under each rule of the service."""
    run = complete(run, fitted.network)
    cases = select_cases(run.split, TEST, cap=cap)
    model = NetworkRanker.of(run.recipe.name, fitted.network)
    names = CatalogueIndex.of(catalogue_of(run.log, run.split))
    return effects(model, cases, names, length=run.recipe.history.length, console=console)


def measure_all(run: Run, rankers: Sequence[Ranker], cases: Cases, console: Console) -> list[Measured]:
    """Measure rankers on `cases`, and their responses to a skip."""
    length, found = run.recipe.history.length, list[Measured]()
    artists, followers = artists_of(run.log, run.split), baselines.markov(run.split)
    artists_V = None if artists is None else artists.numpy()
    batches = len(rankers) * batch_count(cases, at_a_time(cases))
    with progress("measuring the proposals", batches, console, transient=True) as steps:
        for ranker in rankers:
            steps.note(ranker.name)
            measured = evaluate(ranker, cases, length=length, counts_V=run.split.counts, steps=steps)
            answered = response(ranker, cases, followers, artists_V, length=length)
            found.append(replace(measured, values={**measured.values, **answered}))
    return found


def baseline_rankers(part: Split) -> list[Ranker]:
    """Fit the baselines of every report on all entries before the test part."""
    known = (TRAIN, VALID)
    return [
        baselines.popular(part, parts=known),
        baselines.popular(part, parts=known, half_life_days=2),
        baselines.item_rate(part, parts=known),
        baselines.markov(part, parts=known),
        baselines.markov(part, parts=known, refused=0.5),
        session_knn(part, parts=known),
        *own_history(part),
    ]


def best_possible(run: Run) -> list[Ranker]:
    """Return the ranker that knows each listener's true taste. The list is empty if the log was not simulated."""
    truth = read_truth(run.log.folder)
    return [] if truth is None else [BestPossible(truth, run.split)]


def publish(
    run: Run,
    fitted: Fitted,
    quality: Mapping[str, Any],
    root: Path,
    *,
    newer: Log | None = None,
    take_downs: TakeDowns | None = None,
    console: Console | None = None,
) -> Path:
    """Export the network as the current artifact under `root`, and return the artifact's folder. With a log `newer`, the
    session memory has the sessions of that log. The artifact never proposes the tracks of `take_downs`. Progress is shown on
    `console`.
    """
    run = complete(run, fitted.network, newer)
    popular = baselines.popular(run.split, parts=(TRAIN, VALID), half_life_days=7)
    cases = select_cases(
        run.split, TEST, cap=1024
    )  # `exporting.search.select_retrieval` measures on one half, cuts blocks by the other
    catalogue = catalogue_of(run.log, run.split)
    with progress("writing the artifact", STEPS, console, transient=True) as steps:
        return export(
            fitted.network,
            recipe=run.recipe,
            vocabulary=run.split.vocabulary,
            popular=[int(row) for row in np.argsort(-popular.values_V, kind="stable") if row > 1],
            samples=[history_of(cases, index, fitted.network) for index in range(len(cases))],
            root=root,
            origin=dict(run.log.about),
            quality=quality,
            catalogue=catalogue,
            dropped=rows_taken_down(take_downs, run.split.vocabulary, catalogue) if take_downs else (),
            done=steps.advance,
        )


def history_of(cases: Cases, index: int, network: Network) -> RowHistory:
    """Return the whole known history of a case with its gaps, and the long history if the network has a copy head."""
    case = cases.take(slice(index, index + 1))
    length = int(case.lengths[0])
    own = None if network.copy_head is None else case.long_histories(network.copy_head.length)
    if not length:
        return RowHistory(own=own)
    rows, outcomes, gaps = (array[0].tolist() for array in case.encode(length))
    return RowHistory(rows, outcomes, gaps, own)
