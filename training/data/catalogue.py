"""Brings a log's catalogue into the order of a vocabulary's rows, numbers each row's artist, and finds tracks without a row."""

from collections.abc import Sequence
from dataclasses import replace

import polars as pl
import torch
from torch import Tensor

from model.catalogue import Catalogue
from model.vocabulary import FIRST, Vocabulary
from training.data.log import Log
from training.data.split import Split, numbered


def catalogue_of(log: Log, part: Split) -> Catalogue | None:
    """Return the titles, artists, albums, groups and durations of the vocabulary's tracks, in the order of rows; None without a
    catalogue.
    """
    frame = log.catalogue()
    if frame is None:
        return None
    tracks = pl.DataFrame({"track_id": part.vocabulary.tracks}, schema={"track_id": pl.String()})
    found = tracks.join(frame.unique("track_id", keep="last"), on="track_id", how="left", maintain_order="left")
    titles, artists, durations_ms = (tuple(found[name]) for name in ("title", "artist", "duration_ms"))
    albums, groups = (_if_named(found, name) for name in ("album", "group"))
    return Catalogue(titles=titles, artists=artists, durations_ms=durations_ms, albums=albums, groups=groups)


def _if_named(frame: pl.DataFrame, name: str) -> Sequence[str | None]:
    """Return a column's values; nothing if the column is missing or has no names."""
    return tuple(frame[name]) if name in frame.columns and frame[name].count() else ()


def artists_of(log: Log, part: Split) -> Tensor | None:
    """Return the number of each row's artist, int64 [rows], from 1 on; 0 if the catalogue names none. None without a
    catalogue.
    """
    catalogue = catalogue_of(log, part)
    return None if catalogue is None else torch.cat([torch.zeros(FIRST, dtype=torch.int64), numbers_of(catalogue.artists)])


def numbers_of(names: Sequence[str | None]) -> Tensor:
    """Number names in the order in which they first appear, int64 [names], from 1 on; 0 stands for no name."""
    numbers: dict[str | None, int] = {None: 0}
    return torch.tensor([numbers.setdefault(name, len(numbers)) for name in names], dtype=torch.int64)


def with_new_tracks(part: Split, log: Log) -> Split:
    """Return the split with a row for each track of the catalogue that has none, after the last row.

    Entries of these tracks, which are unknown in `part`, then have rows too.
    """
    frame = log.catalogue()
    if frame is None:
        return part
    listed = frame["track_id"].unique(maintain_order=True).to_list()
    new = [track for track in listed if not part.vocabulary.knows(track)]
    return renumbered(part, Vocabulary([*part.vocabulary.tracks, *new])) if new else part


def renumbered(part: Split, vocabulary: Vocabulary) -> Split:
    """Return the split with the rows of another vocabulary."""
    return replace(numbered(part.sequences, vocabulary), part=part.part)
