"""A log's catalogue in the order of a vocabulary's rows, and the number of each row's artist."""

from typing import Any

import torch
from torch import Tensor

from model.catalogue import Catalogue
from model.vocabulary import FIRST
from training.data.log import Log
from training.data.split import Split


def catalogue_of(log: Log, part: Split) -> Catalogue | None:
    """Titles, artists, albums and durations in the order of the rows, where the log has them."""
    frame = log.catalogue()
    if frame is None:
        return None
    columns = [name for name in ("title", "artist", "duration_ms", "album") if name in frame.columns]
    known: dict[str, tuple[Any, ...]] = {
        track_id: tuple(values) for track_id, *values in frame.select("track_id", *columns).iter_rows()
    }
    rows = [known.get(track_id, (None,) * len(columns)) for track_id in part.vocabulary.tracks]
    titles, artists, durations_ms, *albums = zip(*rows, strict=True)
    named = bool(albums) and any(album is not None for album in albums[0])
    return Catalogue(titles=titles, artists=artists, durations_ms=durations_ms, albums=albums[0] if named else ())


def artists_of(log: Log, part: Split) -> Tensor | None:
    """The number of each row's artist, from 1 on, 0 where the catalogue names none: int64 [rows]. None without a catalogue."""
    catalogue = catalogue_of(log, part)
    if catalogue is None:
        return None
    numbers: dict[str | None, int] = {None: 0}
    rows = [numbers.setdefault(artist, len(numbers)) for artist in catalogue.artists]
    return torch.tensor([0] * FIRST + rows)
