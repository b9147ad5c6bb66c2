"""The id of a reply with proposals. It names the model that answered, so that an event with this id is counted without a
look-up.

    TIME_AND_RANDOM.ARM.PLACES.VERSION     01a22eb7419a4216843fe03eac6b.current.q2fK3Q.demo-20261130T221911-6e1db9

Ids sort by time. ARM is the arm of a split, or `popular`. VERSION is the artifact's. PLACES has a 16-bit checksum of each
track's id, in base64, for the first `PLACED` tracks in order. So one of several thousand events about a track that was not
proposed may be counted for a track that was. An id of another form is stored like any other and not counted.
"""

import random
import re
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import crc_hqx
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

PLACED = 20
BEYOND = f"{PLACED + 1}+"
_RANKS = ["1", "2", "3", *["4-5"] * 2, *["6-10"] * 5, *["11-20"] * 10]
RANKS = (*dict.fromkeys(_RANKS), BEYOND)
"""The ranks that are counted: single places at the top of a reply, larger groups of places further down."""
POPULAR = "popular"
"""The arm in the id of a degraded reply, which has the version's popular tracks and not the model's."""
ARMS = ("current", "challenger", POPULAR)
_UNIQUE, _VERSION = re.compile(r"[0-9a-f]{28}"), re.compile(r"[\w.+-]{1,100}", re.ASCII)
_CHECKSUMS = [struct.Struct(f"<{count}H") for count in range(PLACED + 1)]


class Proposed(NamedTuple):
    """Who proposed a track: model version, arm of the split, and the track's rank in the reply."""

    version: str
    arm: str
    rank: str


def new_unique(now_ms: int) -> str:
    """Make the first part of an id: the time and random bits."""
    return f"{now_ms:012x}{random.getrandbits(64):016x}"


def new_request_id(unique: str, arm: str, version: str, track_ids: Sequence[str] = ()) -> str:
    """Make the id of a reply with `track_ids`, best first. `unique` comes from `new_unique`."""
    checksums = [crc_hqx(track_id.encode("utf-8", "surrogatepass"), 0) for track_id in track_ids[:PLACED]]
    places = urlsafe_b64encode(_CHECKSUMS[len(checksums)].pack(*checksums)).rstrip(b"=").decode()
    return f"{unique}.{arm}.{places}.{version}"


def proposed_by(request_id: str, track_id: str) -> Proposed | None:
    """Return the version, arm and rank that proposed a track in the reply with this id. Returns None if the id has another form
    or the reply lacks the track.
    """
    parts = _parts_of(request_id)
    if parts is None:
        return None
    version, arm, checksums = parts
    checksum = crc_hqx(track_id.encode("utf-8", "surrogatepass"), 0)
    if checksum in checksums:
        return Proposed(version, arm, _RANKS[checksums.index(checksum)])
    return Proposed(version, arm, BEYOND) if len(checksums) == PLACED else None


@lru_cache(1024)  # the events of one reply often arrive together
def _parts_of(request_id: str) -> tuple[str, str, tuple[int, ...]] | None:
    """Return the version, the arm and the tracks' checksums in an id; None if the id has another form."""
    try:
        unique, arm, places, version = request_id.split(".", 3)
        packed = urlsafe_b64decode(f"{places}===")
        checksums = _CHECKSUMS[len(packed) // 2].unpack(packed)
    except (ValueError, IndexError, struct.error):
        return None
    if arm not in ARMS or not _UNIQUE.fullmatch(unique) or not _VERSION.fullmatch(version):
        return None
    return version, arm, checksums
