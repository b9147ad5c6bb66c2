"""A run's folder: which run it holds, and whether a command may go on with it.

    run.json                     the recipe, the log's folder, the SHA-256 of the log's content, and how much was in it
    checkpoint.pt, best-N.pt     see `training.fitting.checkpoint`; a killed run goes on from them
    calibration.json             the weights that were tried after training, the chosen ones first
    session_memory.json          the same for the weight of a session memory
    refit/                       the checkpoint of the network that learned from the training and validation parts
    report.json, report.html     written by `training.commands`
    published.json               see `training.publication`

A run is known by its recipe and by the content of its log. The log's path and size do not count. So a log that was
corrected and imported again is another log, and a log that was moved is the same one.

Without `--run` the folder is RUNS/LOG-RECIPE-SEED/TIME-MARK, where MARK depends on recipe and content. So the same command goes
on with the same run, and starts a new one for a log that has grown. RUNS/LOG-RECIPE-SEED/current names the one used last.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from model.versions import switch
from training.data.log import Log, open_log
from training.data.sequences import build
from training.data.split import Split, split
from training.fitting.checkpoint import CHECKPOINT, RunError, written_whole
from training.fitting.ranks import ranks
from training.recipe import Recipe, RecipeError, recipe_of

RUN, CALIBRATION, COPY_HEAD, SESSION_MEMORY = "run.json", "calibration.json", "copy_head.json", "session_memory.json"
REFIT = "refit"
REPORT, PAGE, PUBLISHED = "report.json", "report.html", "published.json"
CURRENT = "current"
_FILES = (RUN, CALIBRATION, COPY_HEAD, SESSION_MEMORY, REPORT, PAGE, PUBLISHED, CHECKPOINT, "best-*.pt", "*.draft")
_SHOWN = 5  # differing keys of a recipe that a message names


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A run's log, split as the recipe says, and its folder."""

    recipe: Recipe
    log: Log
    split: Split
    folder: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """The content of `run.json`. Two runs are the same if recipe and content are; the log's folder and size are for people."""

    recipe: Mapping[str, Any]
    content: str  # SHA-256, see `Log.content`
    log: str
    size: str

    def mark(self) -> str:
        """Return six characters that depend on recipe and content only."""
        return hashlib.sha256(json.dumps([self.recipe, self.content], sort_keys=True).encode()).hexdigest()[:6]


def prepare(log: Log, recipe: Recipe, folder: Path, *, anew: bool = False, console: Console | None = None) -> Run:
    """Claim the folder for the run and split the log. With `anew`, a run that is in the folder is deleted first.

    RunError if the folder holds another run, or files of a run without its `run.json`. With several processes, rank 0 claims.
    """
    first = ranks().first
    return _prepare(_identity(log, recipe) if first else None, log, recipe, folder, anew=anew, console=console)


def prepare_below(runs: Path, log: Log, recipe: Recipe, *, anew: bool = False, console: Console | None = None) -> Run:
    """Prepare a run in its own folder below `runs`: the one with the same recipe and content, or a new one."""
    identity = _identity(log, recipe) if ranks().first else None
    folder = ranks().said_by_first(_own_folder(runs, identity) if identity else Path())
    run = _prepare(identity, log, recipe, folder, anew=anew, console=console)
    if identity:
        switch(folder.parent, folder.name)
    return run


def find(log: Log, recipe: Recipe, runs: Path, given: Path | None = None) -> Path | None:
    """Return the folder of the run with this recipe and the log's content, `given` or one below `runs`; None without one."""
    asked = _identity(log, recipe)
    folder = given or _own_folder(runs, asked)
    found = _read(folder)
    return folder if found and (found.recipe, found.content) == (asked.recipe, asked.content) else None


def resume(folder: Path, *, console: Console | None = None) -> Run:
    """Open the run in a folder, or the newest used run below it.

    RunError if there is none, or if the log's content has changed.
    """
    if (folder / CURRENT).exists():
        folder = (folder / CURRENT).resolve()
    found = _read(folder)
    if found is None:
        raise RunError(f"no run in {folder}: found no {RUN} there; `python -m training train LOG` starts one")
    try:
        recipe = recipe_of(found.recipe, str(folder / RUN))
    except RecipeError as error:
        raise RunError(f"found a recipe of another version. {error}. {_way_out(folder, found.log)}") from error
    return prepare(open_log(Path(found.log)), recipe, folder, console=console)


def prune(runs: Path, run: Run, keep: int) -> list[Path]:
    """Delete older runs beside `run` below `runs`, so that `keep` are left. Returns the deleted folders.

    Nothing is deleted if the run was put in another folder by `--run`.
    """
    parent = run.folder.parent
    if parent.parent != runs or not ranks().first:
        return []
    others = sorted(path.parent for path in parent.glob(f"*/{RUN}") if path.parent not in (run.folder, parent / CURRENT))
    old = others[: max(0, len(others) - max(1, keep) + 1)]
    for folder in old:
        shutil.rmtree(folder)
    return old


def write_json(path: Path, value: object) -> None:
    """Write one of the run's JSON files in one step."""
    with written_whole(path) as draft:
        draft.write_text(json.dumps(value, indent=2) + "\n", "utf-8")


def _prepare(
    identity: Identity | None, log: Log, recipe: Recipe, folder: Path, *, anew: bool, console: Console | None = None
) -> Run:
    refusal = ranks().said_by_first(_claim(folder, identity, anew=anew) if identity else None)
    if refusal:
        raise RunError(refusal)
    shown = console if ranks().first else None
    return Run(recipe=recipe, log=log, split=split(build(log, recipe.history, console=shown), recipe.split), folder=folder)


def _claim(folder: Path, asked: Identity, *, anew: bool) -> str | None:
    """Claim the folder for a run. Returns the reason if that is impossible, else None."""
    if anew:
        _delete_run(folder)
    found = _read(folder)
    if found is None:
        if anew or not any(folder.glob(CHECKPOINT)):
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / RUN, asdict(asked))
            return None
        return f"{folder} has a checkpoint but no {RUN}, so nothing says of which run it is. {_way_out(folder, asked.log)}"
    differences = [*_differing_keys(found.recipe, asked.recipe)]
    if found.content != asked.content:
        differences.append(f"it learned from other events: {found.size}; {asked.log} has {asked.size} now")
    if differences:
        return f"{folder} holds another run: {'; '.join(differences)}. {_way_out(folder, asked.log)}"
    if found != asked:  # the same content in another place
        write_json(folder / RUN, asdict(asked))
    return None


def _delete_run(folder: Path) -> None:
    """Delete the files of a run from its folder, and nothing else."""
    for pattern in _FILES:
        for path in folder.glob(pattern):
            path.unlink()
    if (folder / REFIT / CHECKPOINT).exists():
        shutil.rmtree(folder / REFIT)


def _way_out(folder: Path, log: str) -> str:
    return f"Name another folder with --run, or start this one anew: `python -m training train {log} --run {folder} --anew`"


def _identity(log: Log, recipe: Recipe) -> Identity:
    events, users, last = (log.about.get(key) for key in ("events", "users", "last"))
    size = f"{events} events of {users} listeners up to {last}"
    return Identity(recipe=recipe.as_dict(), content=log.content(), log=str(log.folder.resolve()), size=size)


def _own_folder(runs: Path, identity: Identity) -> Path:
    recipe = identity.recipe["name"].replace(" ", "-")  # `nexttrack epochs=3`: a path to copy has no spaces
    parent = runs / f"{Path(identity.log).name}-{recipe}-{identity.recipe['seed']}"
    known = sorted(path.parent for path in parent.glob(f"*-{identity.mark()}/{RUN}"))
    return known[-1] if known else parent / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{identity.mark()}"


def _read(folder: Path) -> Identity | None:
    """Return the identity in `run.json`, None if there is no such file. RunError if it cannot be read."""
    path = folder / RUN
    if not path.exists():
        return None
    try:
        return Identity(**json.loads(path.read_text("utf-8")))
    except (ValueError, TypeError) as error:
        raise RunError(
            f"{path} is damaged or of another version ({error}); wanted the run's recipe, log, content and size. "
            f"{_way_out(folder, 'LOG')}"
        ) from error


def _differing_keys(found: Mapping[str, Any], asked: Mapping[str, Any]) -> Iterator[str]:
    old, new = dict(_flat(found)), dict(_flat(asked))
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    for key in keys[:_SHOWN]:
        yield f"its recipe has {key} = {old.get(key, 'nothing')!r}, not {new.get(key, 'nothing')!r}"
    if len(keys) > _SHOWN:
        yield f"{len(keys) - _SHOWN} more keys of its recipe differ"


def _flat(table: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{key}.")
        else:
            yield path + key, value
