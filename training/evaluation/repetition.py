"""Measures how the listeners of a log repeat tracks and sequences, skip, and return. Logs can be compared by these figures.

    skipped             share of plays that were skipped
    skipped p10 …       quantiles of this share over the listeners
    skip after a skip   share of plays skipped, of those that follow a skipped play of the same session
    skip after a play   the same after a kept play
    plays p50, p90      quantiles of the number of plays of a session
    the same again      share of plays of the track that the listener played just before
    kept before         share of kept plays of a track that the listener had kept before
    kept in session     share of kept plays of a track that the listener had kept before in the same session
    followed before     share of kept plays whose track had followed the last kept track before, in this order, in an earlier
                        place of the listener's past; of those with a last kept track in the session that occurred earlier
    plays until repeat  median number of kept plays from a kept play to the next one of its track
    new ones kept again share of tracks that are kept again within `SOON` kept plays after a listener first kept them

Shapes: N plays, K kept plays.
"""

from collections.abc import Mapping
from math import nan

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from training.data.sequences import Bools, Int64s, Sequences, is_wanted

SOON = 500
"""Kept plays after the first one of a track, in which it may be kept again."""


def figures(sequences: Sequences) -> Mapping[str, float]:
    """Return the figures of a log by name, in the order of the module. A share of nothing is NaN."""
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
    """Print the figures of logs by name, one column each. With several logs, the last column is the last log by the first."""
    first, last = next(iter(logs.values())), list(logs.values())[-1]
    table = Table("", *(Column(name, justify="right") for name in logs), box=None)
    if len(logs) > 1:
        table.add_column("ratio", justify="right")
    for figure, value in first.items():
        ratio = [f"{last[figure] / value:.2f}"] if len(logs) > 1 else []
        table.add_row(figure, *(f"{of[figure]:.3g}" for of in logs.values()), *ratio)
    console.print(table)


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
