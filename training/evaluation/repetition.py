"""Measures how the listeners of a log repeat tracks and sequences, skip, and return. Logs can be compared by these figures.
`WORDS` says what each one is.

Shapes: N plays, K kept plays.
"""

from collections.abc import Mapping
from math import isnan, nan

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from training.data.sequences import Bools, Int64s, Sequences, is_wanted

SOON = 500
"""Kept plays after the first one of a track, in which it may be kept again."""
WORDS: Mapping[str, str] = {
    "skipped": "share of plays that were skipped",
    "skipped p10": "the same for a listener of whom 90 % of listeners skip more",
    "skipped p50": "the same for the listener in the middle",
    "skipped p90": "the same for a listener of whom 10 % of listeners skip more",
    "skip after a skip": "share skipped of the plays that follow a skipped play of the same session",
    "skip after a play": "the same after a kept play",
    "plays p50": "number of plays of the session in the middle",
    "plays p90": "number of plays that 10 % of the sessions exceed",
    "the same again": "share of plays of the track that the listener played just before",
    "kept before": "share of kept plays of a track that the listener had kept before",
    "kept in session": "the same within the session",
    "followed before": "share of kept plays whose track had followed the last kept one before, if that was kept earlier too",
    "plays until repeat": "median number of kept plays until the listener keeps the same track again",
    "new ones kept again": f"share of tracks that are kept again within {SOON} kept plays after a listener first kept them",
}


def figures(sequences: Sequences) -> Mapping[str, float]:
    """Return the figures of a log by name, in the order of `WORDS`. A share of nothing is NaN."""
    listener = np.repeat(np.arange(len(sequences), dtype=np.int64), np.diff(sequences.offsets))
    track = sequences.track.astype(np.int64)
    session = _numbered(listener, sequences.session.astype(np.int64))
    skipped = ~is_wanted(sequences.outcome)
    same = session[1:] == session[:-1]
    before, after = skipped[:-1][same], skipped[1:][same]
    by_listener = np.bincount(listener, skipped) / np.bincount(listener)
    lengths = np.bincount(session)
    kept = ~skipped
    return {
        "skipped": _share(skipped),
        **{f"skipped p{q}": float(np.quantile(by_listener, q / 100)) for q in (10, 50, 90)},
        "skip after a skip": _share(after[before]),
        "skip after a play": _share(after[~before]),
        **{f"plays p{q}": float(np.quantile(lengths, q / 100)) for q in (50, 90)},
        "the same again": _share((track[1:] == track[:-1])[listener[1:] == listener[:-1]]),
        **_of_kept(listener[kept], session[kept], track[kept]),
    }


def print_figures(logs: Mapping[str, Mapping[str, float]], console: Console) -> None:
    """Print the figures of logs by name, one column each, and what they are. With several logs, a last column divides the last
    one by the first.
    """
    first, last = next(iter(logs.values())), list(logs.values())[-1]
    table = Table("", *(Column(name, justify="right") for name in logs), box=None)
    if len(logs) > 1:
        table.add_column("ratio", justify="right")
    for figure, value in first.items():
        ratio = [_shown(last[figure] / value if value else nan, ".2f")] if len(logs) > 1 else []
        table.add_row(figure, *(_shown(of[figure], ".3g") for of in logs.values()), *ratio)
    console.print(table)
    for figure in first:
        console.print(f"{figure}: {WORDS[figure]}", highlight=False, soft_wrap=True)


def _shown(value: float, form: str) -> str:
    return "-" if isnan(value) else format(value, form)


def _of_kept(listener: Int64s, session: Int64s, track: Int64s) -> dict[str, float]:
    """Return the figures of kept plays [K], each with its listener, session and track."""
    own = _numbered(listener, track)  # a listener's track
    previous = _previous(own)
    ages = np.arange(len(own)) - previous  # of a repeat, in kept plays
    repeat = previous >= 0
    in_session = repeat & (session == session[previous])
    follows = np.append(False, session[1:] == session[:-1])
    last = np.arange(len(own)) - 1
    pair = np.where(follows, _numbered(own[last], own), -1 - np.arange(len(own)))
    asked = follows & repeat[last]
    first = np.flatnonzero(~repeat)
    left = np.searchsorted(listener, listener[first], side="right") - first
    following = _following(own)[first] - first
    return {
        "kept before": _share(repeat),
        "kept in session": _share(in_session),
        "followed before": _share((_previous(pair) >= 0)[asked]),
        "plays until repeat": float(np.median(ages[repeat])) if repeat.any() else nan,
        "new ones kept again": _share((following <= SOON)[left > SOON]),
    }


def _numbered(group: Int64s, within: Int64s) -> Int64s:
    """Number the distinct pairs (group, within) from 0: a number for each element."""
    number: Int64s = np.unique(group * (int(within.max(initial=0)) + 1) + within, return_inverse=True)[1].astype(np.int64)
    return number


def _previous(keys: Int64s) -> Int64s:
    """Return the index of the element before with the same key, -1 if there is none."""
    order = np.argsort(keys, kind="stable")
    found = np.full(len(keys), -1, np.int64)
    same = keys[order][1:] == keys[order][:-1]
    found[order[1:][same]] = order[:-1][same]
    return found


def _following(keys: Int64s) -> Int64s:
    """Return the index of the next element with the same key, a very large one if there is none."""
    backwards = _previous(keys[::-1])[::-1]
    return np.where(backwards >= 0, len(keys) - 1 - backwards, np.iinfo(np.int64).max)


def _share(chosen: Bools) -> float:
    return float(chosen.mean()) if chosen.size else nan
