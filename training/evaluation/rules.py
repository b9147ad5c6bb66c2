"""Measures what each rule of the service does to a ranker's lists: to hits, to refused tracks, and to the share of the
catalogue.

A list is made as the service makes it. Tracks played in the session are masked, unless the rule allows them. The listener's
newest `KEPT_EVENTS` plays count as heard. The functions of `model.rules` order the list. If the catalogue knows releases of one
recording, a list has each recording once, and masks reach all of its releases.

Shapes: C cases, V rows, W rows and request-local rows, L places of a list.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from random import Random
from typing import NamedTuple

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from model.catalogue_index import CatalogueIndex, NameIndex
from model.events import KEPT_EVENTS, Outcome
from model.rules import DAY_MS, MOST_SCORED, POOL, ListRules, arrange, exploring, novelty_shift, spacing
from model.vocabulary import FIRST
from training.data.sequences import Bools, Int64s
from training.evaluation.cases import Cases
from training.evaluation.evaluate import LIST, Ranker, at_a_time, masked, shown_batches
from training.evaluation.metrics import Floats, catalogue_coverage
from training.evaluation.own_history import rows_of_entries, targets_with_own


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule(ListRules):
    """The rules under which lists are measured."""

    every_release: bool = False
    """Whether releases of one recording are separate tracks. No request can ask for this: it shows what the service does."""


RULES = (
    Rule(),
    Rule(every_release=True),
    Rule(replay=True),
    *(Rule(artist_gap=gap) for gap in (2, 3, 5, 10)),
    *(Rule(album_gap=gap) for gap in (2, 5)),
    *(Rule(not_heard_days=days) for days in (1, 7, 30)),
    *(Rule(novelty=novelty) for novelty in (-1, -0.9, -0.5, -0.2, 0.2, 0.5, 0.9, 1)),
    *(Rule(explore=share) for share in (0.1, 0.2, 0.5)),
)
"""These are measured by default: the service without rules first. Releases matter only if the catalogue knows recordings."""


class Effect(NamedTuple):
    """Measurements of the lists under one rule. `hr20` counts wanted targets in the list, `refused20` refused ones; NaN without
    any. A target is in the list if any release of its recording is.
    """

    rule: Rule
    hr20: float
    refused20: float
    coverage20: float
    heard: float
    """The share of proposed tracks that the listener has heard."""
    length: float
    """The mean number of tracks in a list."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Listened:
    """The newest plays of a listener before one case, as rows, oldest first."""

    heard: Int64s
    age_ms: Int64s
    session: Int64s
    skipped: Int64s = field(default_factory=lambda: np.zeros(0, np.int64))


def effects(
    ranker: Ranker,
    cases: Cases,
    names: CatalogueIndex,
    *,
    length: int,
    rules: Sequence[Rule] = RULES,
    console: Console | None = None,
) -> list[Effect]:
    """Make a ranker's lists under each rule, and measure them. `names` has the artists and albums of the rows."""
    rules = [rule for rule in rules if not rule.every_release or len(names.recordings)]
    lists_CL = {rule: np.zeros((len(cases), LIST), np.int64) for rule in rules}
    heard_C = {rule: np.zeros(len(cases), np.int64) for rule in rules}
    size = at_a_time(cases)
    shown = shown_batches(cases, size, "measuring the rules", console)
    for start, batch in zip(range(0, len(cases), size), shown, strict=True):
        scores_BW = masked(np.require(ranker.scores(batch.encode(length), batch), np.float32, ["C", "W"]), batch)
        for case, scores_W in enumerate(scores_BW):
            listened = _listened(batch, case, len(scores_W))
            for rule in rules:
                found = _list(scores_W, listened, rule, names, seed=start + case)
                lists_CL[rule][start + case, : len(found)] = found
                heard_C[rule][start + case] = np.isin(found, listened.heard).sum()
    hits_C = {rule: _hits(lists_CL[rule], targets_with_own(cases), names.recordings) for rule in rules}
    return [_effect(rule, cases, hits_C[rule], lists_CL[rule], heard_C[rule]) for rule in rules]


def print_effects(name: str, found: Sequence[Effect], console: Console) -> None:
    """Print a table with a line for each rule."""
    table = Table(title=f"Rules on the lists of {name}", title_justify="left", box=SIMPLE_HEAD, header_style="bold")
    for column in ("rule", "HR@20", "Refused@20", "coverage@20", "heard", "tracks"):
        table.add_column(column, justify="left" if column == "rule" else "right")
    for one in found:
        shares = (one.hr20, one.refused20, one.coverage20, one.heard)
        table.add_row(describe(one.rule), *(f"{share:.3f}" for share in shares), f"{one.length:.1f}")
    console.print(table)


def describe(rule: Rule) -> str:
    """Return the rule as a query string of the API; `none` if it has the default values only."""
    values = {one.name: getattr(rule, one.name) for one in fields(rule)}
    changed = [f"{name}={value}" for name, value in values.items() if value != getattr(Rule(), name)]
    return "&".join(changed).replace("True", "true") or "none"


def _hits(lists_CL: Int64s, target_C: Int64s, recordings: NameIndex) -> Bools:
    """Return whether each list has its target, or another release of it, [C]."""
    releases = ([target, *recordings.others(target).tolist()] for target in target_C.tolist())
    hit_C = np.array([np.isin(list_L, some).any() for list_L, some in zip(lists_CL, releases, strict=True)], np.bool_)
    return hit_C & (target_C >= FIRST)


def _effect(rule: Rule, cases: Cases, hit_C: Bools, lists_CL: Int64s, heard_C: Int64s) -> Effect:
    lengths_C = (lists_CL >= FIRST).sum(axis=1)
    return Effect(
        rule=rule,
        hr20=_mean(hit_C[cases.wanted]),
        refused20=_mean(hit_C[~cases.wanted]),
        coverage20=catalogue_coverage(np.where(lists_CL < cases.size, lists_CL, 0), cases.size - FIRST),
        heard=float(heard_C.sum() / max(1, lengths_C.sum())),
        length=_mean(lengths_C),
    )


def _mean(values: Bools | Int64s) -> float:
    return float(values.mean()) if values.size else float("nan")


def _listened(cases: Cases, case: int, width: int) -> _Listened:
    """Collect what a case's listener has played. Rows that the ranker does not score (`width` and above) stay in `session`
    only.
    """
    sequences, first, entry = cases.split.sequences, int(cases.first[case]), int(cases.entry[case])
    places = np.arange(max(first, entry - KEPT_EVENTS), entry)
    rows = rows_of_entries(cases, case, places)
    session = sequences.session[places] == sequences.session[entry]
    skipped = session & (sequences.outcomes_at(first, entry)[places - first] == Outcome.SKIPPED)
    scored = rows < width
    return _Listened(
        heard=rows[scored],
        age_ms=(sequences.at_ms[entry] - sequences.at_ms[places])[scored],
        session=rows[session],
        skipped=rows[skipped & scored],
    )


def _list(scores_W: Floats, listened: _Listened, rule: Rule, names: CatalogueIndex, seed: int) -> Int64s:
    """Return the rows of the list under a rule, best first, at most `LIST`."""
    recordings = NameIndex(()) if rule.every_release else names.recordings
    scores_W = _by_rule(scores_W, listened, rule, recordings)
    gaps = [(rule.artist_gap, names.artists), (rule.album_gap, names.albums)]
    gaps = [(gap, index) for gap, index in gaps if gap > 1 and len(index)]
    wanted = MOST_SCORED if gaps or len(recordings) else LIST + (POOL if rule.explore else 0)
    rows = _best(scores_W, wanted)
    ranked = rows.tolist()
    spacings = [spacing(gap, index, ranked, listened.session[1 - gap :].tolist()) for gap, index in gaps]
    if len(recordings):
        spacings.append(spacing(LIST, recordings, ranked))
    draw = exploring(scores_W[rows].tolist(), LIST, rule.explore, Random(seed)) if rule.explore else None
    return rows[[one.rank for one in arrange(len(rows), LIST, spacings, draw)]]


def _by_rule(scores_W: Floats, listened: _Listened, rule: Rule, recordings: NameIndex) -> Floats:
    """Return the scores under a rule: -inf for masked tracks, and heard tracks lowered or raised by its novelty."""
    scores_W = scores_W.copy()
    if rule.novelty == -1:
        familiar = np.unique(listened.heard)
        others = np.ones(len(scores_W), np.bool_)
        others[familiar] = False
        scores_W[others] = -np.inf
    elif rule.novelty:
        scores_W[np.unique(listened.heard)] -= novelty_shift(rule.novelty)
    if rule.not_heard_days:
        scores_W[_releases(listened.heard[listened.age_ms < rule.not_heard_days * DAY_MS], recordings)] = -np.inf
    session = listened.skipped if rule.replay else listened.session
    scores_W[_releases(session[session < len(scores_W)], recordings)] = -np.inf
    return scores_W


def _releases(rows: Int64s, recordings: NameIndex) -> Int64s:
    """Return the given rows and all other releases of their recordings."""
    if not len(recordings):
        return rows
    return np.concatenate([rows, *(recordings.others(row) for row in np.unique(rows).tolist())])


def _best(scores_W: Floats, count: int) -> Int64s:
    """Return the `count` rows with the best scores, best first, without those that score -inf."""
    count = min(count, len(scores_W))
    rows = np.argpartition(-scores_W, count - 1)[:count]
    rows = rows[np.argsort(-scores_W[rows], kind="stable")]
    return rows[scores_W[rows] > -np.inf]
