"""Brings a log's catalogue into the order of a vocabulary's rows, and numbers each row's artist."""

from collections.abc import Sequence

import polars as pl
import torch
from torch import Tensor

from model.catalogue import Catalogue
from model.vocabulary import FIRST
from training.data.log import Log
from training.data.split import Split


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
    if catalogue is None:
        return None
    numbers: dict[str | None, int] = {None: 0}
    rows = [numbers.setdefault(artist, len(numbers)) for artist in catalogue.artists]
    return torch.tensor([0] * FIRST + rows)
