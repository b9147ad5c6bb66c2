"""Columns of numbers that grow on disk, so that the trainer can read a log of any length without holding it in memory.

A long column becomes a memory map of a temporary file without a name. The system caches the pages in use, frees them when
memory is short, and deletes the file with the process. `TMPDIR` sets the folder. A short column stays in memory.
"""

import weakref
from array import array
from collections.abc import Sequence
from tempfile import TemporaryFile
from typing import IO, Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

Number = TypeVar("Number", bound=np.generic)
HELD = 1 << 18
"""Numbers that a column buffers in memory before it writes them."""


class Column(Generic[Number]):
    """A column of one type, to which numbers are appended."""

    def __init__(self, dtype: type[Number]) -> None:
        self._dtype = np.dtype(dtype)
        self._held = array(self._dtype.char)
        self._file: IO[bytes] | None = None

    def extend(self, values: Sequence[int]) -> None:
        """Append Python numbers."""
        self._held.extend(values)
        self._write_if_long()

    def extend_by(self, values: npt.NDArray[Any]) -> None:
        """Append an array of any type whose numbers fit into this column's type."""
        self._held.frombytes(values.astype(self._dtype, copy=False).tobytes())
        self._write_if_long()

    def finish(self) -> npt.NDArray[Number]:
        """Return the whole column, read-only. Nothing can be appended afterwards."""
        if self._file is None:
            return np.array(self._held, self._dtype)
        self._file.write(self._held.tobytes())
        self._file.flush()
        found = np.memmap(self._file, self._dtype, mode="r")
        self._file.close()  # the map keeps the file
        return found

    def _write_if_long(self) -> None:
        if len(self._held) < HELD:
            return
        if self._file is None:
            self._file = TemporaryFile(prefix="nexttrack-")  # noqa: SIM115 # closed by `finish`, or with the column
            weakref.finalize(self, self._file.close)
        self._file.write(self._held.tobytes())
        del self._held[:]
