"""Recipes: all settings of a training run in one TOML file, read into nested frozen dataclasses. An unknown key is an error.

The whole recipe goes into the artifact's manifest, so that a model says how it was made. `--recipe sasrec` names a recipe of
nexttrack, `--recipe mine.toml` a file. `extends = "sasrec"` inherits every key that the file does not set itself.
`--recipe sasrec:fit.epochs=5` changes single keys.
"""

import re
import tomllib
import warnings
from collections.abc import Iterator
from dataclasses import replace
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails

from model.events import HistoryRule
from model.nets.config import NetworkConfig
from training.errors import TrainingError

Targets = Literal["wanted", "kept", "all"]
"""Which track is the target of a state.

wanted: the next kept track, however late it follows. kept: the next track, but only if it is kept. all: the next track.
"""

_STRICT = ConfigDict(extra="forbid")
_NAME = r"[\w .,=-]"
_CHANGE = re.compile(r"""(?:\[[^]]*]|\{[^}]*}|"[^"]*"|'[^']*'|[^,])+""")  # up to a comma outside brackets and quotes
_RENAMED = {
    ("weigh",): ("calibration",),
    ("memory",): ("session_memory",),
    ("network", "echo"): ("network", "artist_transition"),
    ("network", "gains"): ("network", "outcome_scaling"),
}
"""Keys of version 0.1.0 and their names today. The old names work for one more version."""
_BARE_WORD = re.compile(r"(?<==)(?!true\b|false\b)([A-Za-z][\w@]*)$")  # a value that needs quotes in TOML


class RecipeError(TrainingError):
    """A recipe that cannot be used. The text names the key and the reason."""


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class SplitRule:
    """How the log is split into training, validation and test part: at two moments, or by shares of the newest entries.

    A split that the log brings itself takes precedence over shares.
    """

    valid_from: AwareDatetime | None = None  # with its time zone
    test_from: AwareDatetime | None = None
    valid: float = Field(default=0.1, gt=0, lt=0.5)
    test: float = Field(default=0.1, gt=0, lt=0.5)
    shares_of: Literal["log", "listener"] = "log"  # listener: the newest entries of each listener are held out
    listeners: float = Field(default=0.0, ge=0, lt=1)  # share of listeners who are tested but not trained on
    min_count: int = Field(default=1, ge=1)  # a track with fewer entries in the training part counts as unknown

    @model_validator(mode="after")
    def _both_or_neither(self) -> "SplitRule":
        if (self.valid_from is None) != (self.test_from is None):
            raise ValueError("found one of valid_from and test_from; wanted both or neither")
        if self.valid_from and self.test_from and self.valid_from >= self.test_from:
            raise ValueError(
                f"found valid_from {self.valid_from} and test_from {self.test_from}; wanted the first before the second"
            )
        if self.valid_from and self.shares_of == "listener":
            raise ValueError("found moments and shares_of = 'listener'; wanted one or the other")
        return self


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class LossRule:
    """The loss: L_main plus weighted terms. Each term is a function of `model.nets.losses`; a weight of 0 leaves it out."""

    main: Literal["auto", "full", "sampled", "bce", "bpr"] = "auto"  # auto: full softmax up to 20,000 rows, sampled beyond
    negatives: int = Field(
        default=256, ge=0
    )  # number of random tracks, shared by the batch; with `bce` each state draws its own and uses the highest scored one
    targets: Targets = "wanted"
    pair: float = Field(default=0.0, ge=0)
    before: float = Field(default=0.0, ge=0)  # weight of the pairs of a kept track and the track refused just before it
    penalty: float = Field(default=0.0, ge=0)  # weight of the distance correlation between sub-interests
    refused: float = Field(default=0.0, ge=0)  # weight of the binary cross-entropy of refused tracks as negative targets
    contrast: float = Field(default=0.0, ge=0)
    temperature: float = Field(default=0.1, gt=0)  # of the contrastive term
    feedback: float = Field(default=0.0, ge=0)  # weight of the binary cross-entropy of the head that predicts 'wanted'
    smoothing: float = Field(default=0.0, ge=0, lt=1)  # label smoothing of the full softmax


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class FitRule:
    """Settings of the training loop: optimiser, batches, and when to stop."""

    epochs: int = Field(default=30, ge=1)
    patience: int = Field(default=3, ge=1)  # stop after this many epochs without a better validation score
    batch: int = Field(default=256, ge=1)  # windows in a batch
    windows: Literal["all", "newest"] = "all"  # newest: train on the newest window of each listener only
    learning_rate: float = Field(default=1e-3, gt=0)
    decay: float = Field(default=1.0, gt=0, le=1)  # factor on the learning rate after each epoch
    weight_decay: float = Field(default=0.0, ge=0)
    warmup: int = Field(default=100, ge=0)  # number of steps over which the learning rate rises
    clip: float = Field(default=1.0, gt=0)  # largest gradient norm
    average: bool = False  # use the mean of the weights over the steps (training.fitting.average); not with sparse tables
    # of the plays that count for popularity, from which item biases start
    prior_half_life_days: float | None = Field(default=None, gt=0)
    # values of track embeddings before training (training.fitting.cooccurrence)
    start: Literal["random", "cooccurrence"] = "random"
    select: Literal["ndcg@10", "hr@20", "mrr@20", "auc"] = "ndcg@10"  # the validation score that chooses the epoch
    valid_cases: int = Field(default=20_000, ge=1)  # largest number of validation cases, the same after each epoch
    refit: bool = False  # train again on training and validation parts, with the chosen number of epochs and weights
    tables: Literal["auto", "dense", "sparse"] = "auto"  # gradients of embeddings; auto: sparse from 200,000 rows on
    # of the training steps; auto: bfloat16 on a GPU, float32 on a CPU
    precision: Literal["auto", "float32", "bfloat16"] = "auto"


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class CalibrationRule:
    """Weights that are tried on the validation part after training; see `training.fitting.calibration`."""

    wanted: tuple[float, ...] = (0.0,)  # weights of the head that predicts 'wanted'
    # values of theta for the prior from each item's rate of being kept; 0: no prior
    theta: tuple[Annotated[float, Field(ge=0, lt=1)], ...] = (0.0,)
    hit_loss: float = Field(default=0.005, ge=0, lt=1)  # the share of HR@20 that may be lost for fewer refused tracks


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class SessionMemoryRule:
    """The session memory beside the network; see `model.nets.session_memory`."""

    weights: tuple[Annotated[float, Field(ge=0)], ...] = ()  # weights to try on the validation part; () or 0: no memory
    sessions: int = Field(default=100_000, ge=1)  # number of newest sessions in the tables
    recent: int = Field(default=150, ge=1)  # number of sessions of each track that a look-up reads


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class CopyHeadRule:
    """The copy head over the listener's long history, see `model.nets.copy_head` and `training.fitting.copy_head`."""

    # plays of the long history; 0: no copy head. It proposes repeats, so there is none with network.repeats = false either
    length: int = Field(default=0, ge=0, le=10_000)
    cases: int = Field(default=2_000, ge=1)  # number of validation cases that train its weights
    steps: int = Field(default=400, ge=1)
    # shifts of the gate to try; above 0 new tracks count more, below 0 the listener's own tracks
    shifts: tuple[float, ...] = (0.0,)


@dataclass(frozen=True, kw_only=True, slots=True, config=_STRICT)
class Recipe:
    """All settings of a run. A run depends on its recipe, the log and the code, and on nothing else."""

    name: str = Field(pattern=rf"^\w{_NAME}*$")  # part of the names of folders
    seed: int = 1
    history: HistoryRule = HistoryRule()
    split: SplitRule = SplitRule()
    network: NetworkConfig = NetworkConfig()
    loss: LossRule = LossRule()
    fit: FitRule = FitRule()
    calibration: CalibrationRule = CalibrationRule()
    session_memory: SessionMemoryRule = SessionMemoryRule()
    copy_head: CopyHeadRule = CopyHeadRule()
    # tracks of the catalogue that the training part lacks get a vector too, that of their artist (training.fitting.new_tracks)
    new_tracks: bool = False

    @model_validator(mode="after")
    def _fits_together(self) -> "Recipe":
        if self.copy_head.length and self.network.kind == "sine":
            raise ValueError(
                "found a copy head with network.kind 'sine', whose scores it cannot mix; wanted copy_head.length = 0"
            )
        if self.loss.feedback and not self.network.wanted_head:
            raise ValueError("found a weight for loss.feedback; it needs network.wanted_head = true")
        if any(self.calibration.wanted) and not self.network.wanted_head:
            raise ValueError("found weights in calibration.wanted; they need network.wanted_head = true")
        if any(self.calibration.theta) and self.network.kind == "sine":
            raise ValueError("found calibration.theta with network.kind 'sine', which takes no prior; wanted theta = [0.0]")
        if self.network.kind == "sine" and (self.loss.main not in ("bce", "bpr") or self.loss.contrast):
            raise ValueError(
                f"found loss.main {self.loss.main!r} and loss.contrast {self.loss.contrast:g} with network.kind 'sine'; wanted "
                "'bpr' or 'bce', and no contrast, because its scores are no dot products of one vector"
            )
        if self.loss.main != "bce" and not self.loss.negatives:
            raise ValueError(f"found loss.negatives 0 with loss.main {self.loss.main!r}; only 'bce' can do without negatives")
        if self.fit.tables == "sparse" and self.loss.main == "full":
            raise ValueError(
                'found fit.tables = "sparse" and loss.main = "full", whose gradient reaches every row; wanted "sampled"'
            )
        if self.loss.smoothing and not self.network.repeats:
            raise ValueError(
                "found loss.smoothing with network.repeats = false; it would smooth labels over tracks that are left out"
            )
        if self.fit.start == "cooccurrence" and self.network.kind == "sine":
            raise ValueError("found fit.start = 'cooccurrence' with network.kind = 'sine', which can only start at random")
        return self

    def with_seed(self, seed: int) -> "Recipe":
        """Return the same recipe with another seed."""
        return replace(self, seed=seed)

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values, for the manifest."""
        plain: dict[str, Any] = TypeAdapter(Recipe).dump_python(self, mode="json")
        return plain


def read_recipe(asked: str) -> Recipe:
    """Read a recipe by name (`training/recipes/NAME.toml`) or from a file. RecipeError if it cannot be used.

    `NAME:loss.negatives=4,fit.select=auc,calibration.theta=[0.0,0.2]` changes single keys. Values are written as in TOML, but
    a word needs no quotes, because a shell would remove them. The changes become part of the recipe's name.
    """
    name, _, changes = (asked, "", "") if Path(asked).is_file() else asked.partition(":")
    try:
        table = _table(name)
        if changes:
            lines = (_BARE_WORD.sub(r'"\1"', change) for change in _CHANGE.findall(changes))
            table = _over(table, _with_new_names(tomllib.loads("\n".join(lines)), asked))
            table["name"] = f"{table.get('name')} {_short(changes)}"
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{asked}: found text that is no TOML: {error}") from error
    return recipe_of(table, asked)


def recipe_of(table: Any, source: str) -> Recipe:
    """Make a recipe from a table like the one that `as_dict` returns. RecipeError, which names `source`, if it is wrong."""
    try:
        renamed = _with_new_names(table, source) if isinstance(table, dict) else table
        return TypeAdapter(Recipe).validate_python(renamed, strict=False)
    except ValidationError as error:
        raise RecipeError(f"{source}: {'; '.join(map(_fault, error.errors()))}") from error


def _fault(error: ErrorDetails) -> str:
    """Say what is wrong with a key. For a key that does not exist, name those that were perhaps meant."""
    key = ".".join(map(str, error["loc"])) or "recipe"
    if error["type"] != "unexpected_keyword_argument":
        return f"{key}: {error['msg']}"
    known = list(_keys(Recipe(name="any").as_dict()))
    meant = [one for one in known if one.endswith(f".{key}")] or get_close_matches(key, known, n=1)
    return f"{key}: there is no such key" + (f"; perhaps {' or '.join(meant)}" if meant else "")


def _keys(table: dict[str, Any], before: str = "") -> Iterator[str]:
    """Yield the keys of nested tables, as in fit.epochs."""
    for key, value in table.items():
        yield before + key
        if isinstance(value, dict):
            yield from _keys(value, f"{before}{key}.")


def recipe_names() -> list[str]:
    """Return the names of nexttrack's own recipes."""
    return [
        entry.name.removesuffix(".toml") for entry in (files("training") / "recipes").iterdir() if entry.name.endswith(".toml")
    ]


def _table(name_or_path: str, *, below: tuple[str, ...] = ()) -> dict[str, Any]:
    """Read a recipe's TOML and merge it into the recipe that it extends. All keys except the name are inherited."""
    source = files("training") / "recipes" / f"{name_or_path}.toml"
    path = Path(name_or_path)
    if not source.is_file() and not path.is_file():
        known = ", ".join(sorted(recipe_names()))
        raise RecipeError(f"no recipe {name_or_path!r}: there is no such file, and nexttrack's own are {known}")
    if name_or_path in below:
        raise RecipeError(f"found recipes that extend each other: {' -> '.join((*below, name_or_path))}")
    text = source.read_text("utf-8") if source.is_file() else path.read_text("utf-8")
    table = _with_new_names(tomllib.loads(text), name_or_path)
    if "extends" not in table:
        return table
    base = _table(str(table.pop("extends")), below=(*below, name_or_path))
    base.pop("name", None)
    return _over(base, table)


def _over(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Merge `changes` into `base`, nested tables too."""
    tables = {key: _over(base.get(key, {}), value) for key, value in changes.items() if isinstance(value, dict)}
    return {**base, **changes, **tables}


def _short(changes: str) -> str:
    """Shorten `loss.negatives=4` to `negatives=4`, and drop characters that are not allowed in a folder's name."""
    keys_and_values = (change.partition("=") for change in _CHANGE.findall(changes))
    named = ",".join(f"{key.rpartition('.')[2].strip()}={value.strip()}" for key, _, value in keys_and_values)
    return re.sub(rf"(?!{_NAME}).", "", named)


def _with_new_names(table: dict[str, Any], source: str) -> dict[str, Any]:
    """Return the table with every old key under its new name, and warn about each old key."""
    for (*folders, old), (*_, new) in _RENAMED.items():
        inner: Any = table
        for folder in folders:
            inner = inner.get(folder) if isinstance(inner, dict) else None
        if isinstance(inner, dict) and old in inner:
            path = ".".join((*folders, ""))
            warnings.warn(
                f"{source}: the key {path}{old} is called {path}{new} now; the old name will stop working in the next version",
                FutureWarning,
                stacklevel=3,
            )
            inner[new] = _over(inner.pop(old), inner.get(new, {})) if isinstance(inner[old], dict) else inner.pop(old)
    return table
