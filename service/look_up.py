"""Looks up many tracks without holding up other requests."""

import asyncio
from collections.abc import Collection

from model.vocabulary import Vocabulary

SLICE = 1_000
"""Tracks of one request that are looked up, or scored, at once. Other requests are served between two slices."""


async def known_rows(vocabulary: Vocabulary, track_ids: Collection[str]) -> list[int]:
    """Return the rows of those `track_ids` that the vocabulary has, in order."""
    if len(track_ids) <= SLICE:
        return vocabulary.known_rows(track_ids)
    rows: list[int] = []
    left = list(track_ids)
    for start in range(0, len(left), SLICE):
        rows += vocabulary.known_rows(left[start : start + SLICE])
        await asyncio.sleep(0)
    return rows
