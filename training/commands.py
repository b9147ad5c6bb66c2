"""What each command of the command line does, from parsed options to printed results."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote

import torch
from rich.console import Console

from model.artifact import DROPPED
from model.events import HistoryRule
from model.versions import CURRENT, delete_old, in_use
from training import run
from training.compare import compare, follow
from training.counts import counted
from training.data.import_log import import_log
from training.data.log import Log, LogError, open_log
from training.data.sequences import build
from training.evaluation.evaluate import Measured
from training.evaluation.repetition import figures, print_figures
from training.evaluation.rules import print_effects
from training.exporting.take_downs import TakeDowns, read_take_downs
from training.fitting.checkpoint import RunError, written_whole
from training.fitting.fit import Fitted
from training.fitting.ranks import joined, ranks
from training.machine import machine
from training.publication import made_from, record, still_current
from training.recipe import Recipe, read_recipe
from training.reporting.page import write_page
from training.reporting.report import Report, print_table, write_report_json
from training.reporting.verdict import worse_than_popularity
from training.run_folder import PAGE, REPORT, Run, find, prepare, prepare_below, prune, resume
from training.running_service import key_of
from training.simulator.simulate import simulate
from training.sources.times import Clock

RUNS, ARTIFACTS = Path(".nexttrack/runs"), Path("artifacts")


def import_(options: argparse.Namespace, console: Console) -> None:
    """`import`: convert a log of any known format into nexttrack's."""
    log = import_log(
        options.source,
        options.paths,
        options.out,
        columns=_renamed("--column", options.column),
        user=options.user,
        type=options.type,
        query=options.query,
        encoding=options.encoding,
        clock=Clock(zone=options.timezone, dates=options.dates),
        catalogue=options.catalogue,
        catalogue_columns=_renamed("--catalogue-column", options.catalogue_column),
        max_broken=options.max_broken,
        force=options.force,
        console=console,
    )
    console.print(f"wrote {log.folder}: {_size(log)}", markup=False, soft_wrap=True)


def _size(log: Log) -> str:
    return f"{counted(log.about['events'], 'event')} of {counted(log.about['users'], 'listener')}"


def _renamed(option: str, pairs: Sequence[str]) -> dict[str, str]:
    """Parse the pairs OURS=THEIRS of column names, by our name. LogError if one is not a pair, or if two are of one name."""
    if broken := [pair for pair in pairs if "=" not in pair]:
        raise LogError(f"{option} {broken[0]}: wanted OURS=THEIRS, for example {option} track_id=song")
    renamed: dict[str, str] = {}
    for ours, theirs in (pair.split("=", 1) for pair in pairs):
        if ours in renamed:
            raise LogError(f"found {option} {ours}={renamed[ours]} and {option} {ours}={theirs}; wanted one of the two")
        renamed[ours] = theirs
    return renamed


def simulate_(options: argparse.Namespace, console: Console) -> None:
    """`simulate`: write a log of simulated listeners."""
    log = simulate(
        options.out,
        world=options.world,
        listeners=options.listeners,
        tracks=options.tracks,
        artists=options.artists,
        sessions=options.sessions,
        days=options.days,
        seed=options.seed,
        force=options.force,
    )
    console.print(f"wrote {log.folder}: {_size(log)}", markup=False, soft_wrap=True)


def describe(options: argparse.Namespace, console: Console) -> None:
    """`describe`: print how the listeners of logs skip and repeat, with a column for each log."""
    found = {str(path): figures(build(open_log(path), HistoryRule())) for path in options.logs}
    print_figures(found, console)


def train(options: argparse.Namespace, console: Console) -> None:
    """`train`: fit a network, as one process or as one of several, and print where the run is kept."""
    with joined() as among:
        current = _start(options, console)
        fitted = run.train(current, console)
        _prune(options, current, console)
    if among.first:
        console.print(f"epoch {fitted.best + 1} of {len(fitted.epochs)} was the best")


def evaluate(options: argparse.Namespace, console: Console) -> None:
    """`evaluate`: print the table, write report.json and report.html."""
    current = _go_on(options, console)
    _report(current, run.train(current, console), console, options.cases)


def rules(options: argparse.Namespace, console: Console) -> None:
    """Execute `rules`: measure what each rule of the service does to the network's lists, and print a table."""
    current = _go_on(options, console)
    print_effects(current.recipe.name, run.measure_rules(current, run.train(current, console), console, options.cases), console)


def export(options: argparse.Namespace, console: Console) -> None:
    """`export`: write the artifact, with the results of `evaluate`."""
    current = _go_on(options, console)
    newer = None if options.session_memory is None else open_log(options.session_memory)
    _publish(current, run.train(current, console), options, console, newer)


def run_all(options: argparse.Namespace, console: Console) -> None:
    """`run`: train, evaluate, export. If nothing has changed since the artifact in use was made, say so and do nothing."""
    _take_downs(options)  # a wrong key or file is noticed before the training
    log, recipe = _asked(options)
    made = made_from(log, options.cases)
    known = None if options.anew or options.blocks else find(log, recipe, RUNS, options.run)
    if known and (same := still_current(known, made, options.out)):
        told = f"{options.out / CURRENT} is {same}, from the same log, recipe and code, so there is nothing to do"
        console.print(f"{told} (its report: {known / PAGE}). --anew trains again", markup=False, soft_wrap=True)
        return
    current = _start(options, console)
    fitted = run.train(current, console)
    _report(current, fitted, console, options.cases)
    record(current.folder, _publish(current, fitted, options, console).name, made)
    _prune(options, current, console)


def compare_(options: argparse.Namespace, console: Console) -> None:
    """`compare`: compare recipes over seeds and logs in one table."""
    _set_threads(options)
    logs, recipes = [open_log(path) for path in options.log], [read_recipe(name) for name in options.recipes]
    if options.protocol:
        recipes = [follow(recipe, read_recipe(options.protocol)) for recipe in recipes]
    if options.epochs:
        recipes = [
            replace(recipe, fit=replace(recipe.fit, epochs=min(recipe.fit.epochs, options.epochs))) for recipe in recipes
        ]
    seeds = range(1, options.seeds + 1)
    compare(logs, recipes, seeds, options.out, console, cap=options.cases, reference=options.reference)
    console.print(f"rows and a page with plots are kept in {options.out}", markup=False, soft_wrap=True)


def _asked(options: argparse.Namespace) -> tuple[Log, Recipe]:
    recipe = read_recipe(options.recipe)
    return open_log(options.log), recipe if options.seed is None else recipe.with_seed(options.seed)


def _start(options: argparse.Namespace, console: Console) -> Run:
    _set_threads(options)
    log, recipe = _asked(options)
    if options.run:
        current = prepare(log, recipe, options.run, anew=options.anew, console=console)
    else:
        current = prepare_below(RUNS, log, recipe, anew=options.anew, console=console)
    if ranks().first:
        console.print(f"the run is kept in {current.folder}", markup=False, soft_wrap=True)
    return current


def _prune(options: argparse.Namespace, current: Run, console: Console) -> None:
    for folder in prune(RUNS, current, options.keep_runs):
        console.print(f"deleted the older run {folder} (--keep-runs {options.keep_runs})", markup=False, soft_wrap=True)


def _go_on(options: argparse.Namespace, console: Console) -> Run:
    _set_threads(options)
    return resume(options.run, console=console)


def _set_threads(options: argparse.Namespace) -> None:
    if options.threads:
        torch.set_num_threads(options.threads)


def _report(current: Run, fitted: Fitted, console: Console, cap: int | None) -> None:
    recipe, name = current.recipe, current.log.folder.name
    measured, examples = run.measure(current, fitted, console, cap=cap)
    facts = {
        "log": f"{name}: {_size(current.log)}",
        "recipe": f"{recipe.name}, seed {recipe.seed}",
        "training": f"{len(fitted.epochs)} epochs, {fitted.seconds:.0f} s in steps, {fitted.sequences:,} sequences",
        "machine": machine(),
        "measured": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    report = Report(
        title=f"{recipe.name} on {name}",
        rankers=measured,
        model=recipe.name,
        examples=examples,
        facts=facts,
        curves={recipe.name: fitted.epochs},
    )
    with written_whole(current.folder / REPORT) as draft:
        write_report_json(report, draft)
    write_page(report.title, [report], current.folder / PAGE)
    print_table(report, console, further=("response@20",))
    console.print(f"more of it, with plots: {current.folder / PAGE}", markup=False, soft_wrap=True)
    if fault := worse_than_popularity(measured, recipe.name):
        console.print(f"{fault}. It is not published without --force.", style="red", markup=False, highlight=False)


def _take_downs(options: argparse.Namespace) -> TakeDowns | None:
    return None if options.blocks is None else read_take_downs(options.blocks, key_of(options.key_file))


def _publish(current: Run, fitted: Fitted, options: argparse.Namespace, console: Console, newer: Log | None = None) -> Path:
    """Export the network, print what was written, and return the artifact's folder."""
    rankers = _measured(current)
    fault = worse_than_popularity(rankers, current.recipe.name)
    if fault and not options.force:
        raise RunError(f"{fault}. Nothing was published; --force publishes it all the same")
    quality = next(ranker for ranker in rankers if ranker.name == current.recipe.name)
    take_downs = _take_downs(options)
    before = in_use(options.out)
    folder = run.publish(current, fitted, quality.as_dict(), options.out, newer=newer, take_downs=take_downs, console=console)
    instead = f" instead of {before}; `{_rollback(options.out)}` brings that back" if before else ""
    console.print(f"wrote {folder}; {options.out / CURRENT} names it now{instead}", markup=False, soft_wrap=True)
    if take_downs is not None:
        dropped = folder / DROPPED
        count = len(json.loads(dropped.read_text("utf-8"))) if dropped.exists() else 0
        console.print(f"it never proposes {count:,} of its tracks, which are taken down", markup=False, highlight=False)
    for old in [] if options.keep_artifacts is None else delete_old(options.out, options.keep_artifacts):
        console.print(
            f"deleted the older version {old} (--keep-artifacts {options.keep_artifacts})", markup=False, soft_wrap=True
        )
    return folder


def _rollback(root: Path) -> str:
    """Return the command that undoes a publication under `root`."""
    return "python -m training rollback" + ("" if root == ARTIFACTS else f" --out {quote(str(root))}")


def _measured(current: Run) -> list[Measured]:
    """Return the results of `evaluate`. RunError if there are none, or if the report cannot be read."""
    path = current.folder / REPORT
    if not path.exists():
        raise RunError(f"{current.folder} is not measured yet; `python -m training evaluate {current.folder}` does that")
    try:
        return [Measured(**ranker) for ranker in json.loads(path.read_text("utf-8"))["rankers"]]
    except (ValueError, TypeError, KeyError) as error:
        again = f"`python -m training evaluate {current.folder}` measures again"
        raise RunError(f"{path} is damaged or of another version ({error!r}); {again}") from error
