"""Ids for tracks that a log knows by name alone."""

from hashlib import sha256

import polars as pl

from training.data.checks import LONGEST_ID

_KEPT = 40  # length in characters to which a long id is cut; a character has at most four bytes


def named_tracks(artists: pl.Series, titles: pl.Series) -> pl.Series:
    """Returns `Artist - Title`, null where one is missing. An id over 256 bytes is cut and ends in a hash of the whole."""
    names = {"artist": _clean(artists), "title": _clean(titles)}
    ids = pl.DataFrame(names).select(id=pl.format("{} - {}", "artist", "title")).to_series()
    long = ids.str.len_bytes().fill_null(0) > LONGEST_ID
    if not long.any():
        return ids
    return pl.Series("id", [_short(name) if cut else name for name, cut in zip(ids, long, strict=True)], pl.String)


def _clean(names: pl.Series) -> pl.Series:
    clean = names.str.replace_all(r"[\p{Cc}\s]+", " ").str.strip_chars()
    return clean.replace("", None)


def _short(name: str) -> str:
    return f"{name[:_KEPT]}… #{sha256(name.encode()).hexdigest()[:32]}"
