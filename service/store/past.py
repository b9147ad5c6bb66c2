"""The format of a listener's long history in Redis: plays that have left the exact window, packed.

`long_history.lua` writes it and describes its bytes: a header and 12 bytes for each play, and beside it the ids of the distinct
tracks. A play needs no id of its own, so 1,000 plays of 600 tracks with ids of 22 characters take 26 KB.
"""

import numpy as np

from model.long_history import NO_PAST, Past
from service.store.formats import BROKEN, UNKNOWN

VERSION, HEADER = 1, 272
_TRACKS_SIZE_AT = HEADER - 4
_PLAY = np.dtype([("when", "<i8"), ("track", "<u4")])
_OUTCOME_BITS = 3


class UnreadableError(Exception):
    """A long history that cannot be read. `reason` is `UNKNOWN` or `BROKEN`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def unpack_past(long: bytes, tracks: bytes) -> Past:
    """Unpack the long history from its two values. Both are empty if no event has left the newest ones. Raises UnreadableError
    if they have another version or do not fit together.
    """
    if not long:
        return NO_PAST
    for value in (long, tracks):
        if value[:1] not in (bytes([VERSION]), b""):
            raise UnreadableError(UNKNOWN)
    plays, rest = divmod(len(long) - HEADER, _PLAY.itemsize)
    if plays < 0 or rest or int.from_bytes(long[_TRACKS_SIZE_AT:HEADER], "little") != len(tracks):
        raise UnreadableError(BROKEN)
    try:
        ids = tracks[1:-1].decode().split("\n")
    except UnicodeDecodeError as error:
        raise UnreadableError(BROKEN) from error
    packed = np.frombuffer(long, _PLAY, offset=HEADER)
    numbers, when = packed["track"].astype(np.int64), packed["when"].astype(np.int64)
    if plays and numbers.max() >= len(ids):
        raise UnreadableError(BROKEN)
    return Past(ids, numbers, when >> _OUTCOME_BITS, when & (1 << _OUTCOME_BITS) - 1)
