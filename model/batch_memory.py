"""Estimates how much memory a request makes ONNX Runtime allocate, so that a batch stays within its bound.

The cost of an ordinary request depends on the model, so it is measured once, when the graphs are loaded. The cost of further
rows is computed. For each row that is scored exactly, its vector is gathered; an index also gathers blocks of rows that may be
among the best. An index compares each excluded row with each row to score. See `docs/measurements/bounds.md` for measurements.
"""

import ctypes
from pathlib import Path
from typing import NamedTuple

import onnxruntime

from model.artifact import Manifest

COMPARED = 256
"""Most excluded rows that an index compares one by one. With 10,000 it would need seconds and a gigabyte."""
MANY = 4
"""A request is large if it costs as much as this many ordinary ones."""
MARGIN = 1.5
"""Factor on the measured cost. The measurement finds four fifths of the real cost, because freed memory is used again."""
ORDINARY_COUNT = 20
LARGE_BLOCK = 1 << 20
_M_MMAP_THRESHOLD = -3  # its number in malloc.h
_SPARE_ROWS = 64


class Cost(NamedTuple):
    """The estimated memory of one request in a batch, in bytes, and whether it should run alone."""

    bytes: int
    is_large: bool


class BatchMemory:
    """Estimates the memory of requests to one artifact's graphs."""

    def __init__(self, manifest: Manifest) -> None:
        items = manifest.weights.get("items")
        self._width = items.shape[-1] if items is not None else 64
        self._has_index = manifest.retrieval.probes is not None
        # Defaults until measured, and for systems that do not tell a process's memory: an encoder of the items' width and a
        # scan of all rows. A scan takes four bytes for the score of each track (or group of an index), and a quarter more to
        # select.
        encoder_bytes = manifest.history.length * 100 * self._width
        self._model_bytes = encoder_bytes + manifest.tracks * (1 if self._has_index else 5)
        self._rank_bytes = encoder_bytes

    def cost(self, rows: int, count: int | None) -> Cost:
        """Estimate the cost of a request for the `count` best tracks with `rows` excluded rows.

        Without a count, estimate the cost of ranking `rows` candidates.
        """
        if count is None:
            ordinary, more = self._rank_bytes, 5 * self._width * rows
        else:
            ordinary, more = self._model_bytes, 24 * rows + self._scoring_bytes(rows, count)
        return Cost(ordinary + more, more > (MANY - 1) * ordinary)

    def fetched(self, count: int, excluded: int) -> int | None:
        """Return how many rows the graph must return so that `excluded` rows can be removed afterwards. None if the graph
        itself removes them.
        """
        return count + excluded if self._has_index and excluded > COMPARED else None

    def measured(self, model_bytes: int | None, rank_bytes: int | None) -> None:
        """Set the cost of an ordinary request from measurements, plus a margin. None leaves an estimate as it is.

        `model_bytes` is the cost of a request for `ORDINARY_COUNT` tracks, `rank_bytes` of ranking as many candidates.
        """
        if model_bytes is not None:
            self._model_bytes = round(MARGIN * model_bytes)
        if rank_bytes is not None:
            self._rank_bytes = round(MARGIN * rank_bytes)

    def _scoring_bytes(self, rows: int, count: int) -> int:
        compared = rows if self._has_index and rows <= COMPARED else 0
        scored = 2 * (self.fetched(count, rows) or count) + compared
        return scored * 20 * self._width + (scored + _SPARE_ROWS) * 8 * compared


def shrinking() -> onnxruntime.RunOptions:
    """Return options for a run after which ONNX Runtime frees the memory by which its arena has grown."""
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def trim() -> bool:
    """Return freed memory to the operating system. Otherwise the C library keeps most of it. False except with glibc."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):
        return False
    return True


def map_large_blocks() -> bool:
    """Give each block of `LARGE_BLOCK` bytes or more a mapping of its own, which ends when the block is freed. False except
    with glibc.

    By default, glibc does so only until the first large block is freed. Later ones lie among smaller blocks, and their memory
    often stays with the process when they are freed.
    """
    try:
        return bool(ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK))
    except (OSError, AttributeError, TypeError):
        return False


def taken_bytes() -> int | None:
    """Return the memory of this process without mapped files, in bytes. None except on Linux with glibc."""
    if not trim():  # otherwise freed memory would be used again, and no growth would show
        return None
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")), None)
