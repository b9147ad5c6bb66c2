"""Columns of numbers that grow on disk: what the trainer knows of a log, however long, without holding it in memory.

A long column ends as a memory map of a temporary file without a name: the system keeps in memory what is being read, gives it
up where memory is wanted elsewhere, and deletes the file with the process. `TMPDIR` says where the room is taken. A short one
stays in memory.
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
"""Numbers held in memory until they are written."""


class Column(Generic[Number]):
    """A column of one type, written from front to back."""

    def __init__(self, dtype: type[Number]) -> None:
        self._dtype = np.dtype(dtype)
        self._held = array(self._dtype.char)
        self._file: IO[bytes] | None = None

    def extend(self, values: Sequence[int]) -> None:
        """Add Python numbers."""
        self._held.extend(values)
        self._write_if_long()

    def extend_by(self, values: npt.NDArray[Any]) -> None:
        """Add an array, of any type whose numbers fit into this one's."""
        self._held.frombytes(values.astype(self._dtype, copy=False).tobytes())
        self._write_if_long()

    def finish(self) -> npt.NDArray[Number]:
        """The whole column, to be read only; nothing can be added to it."""
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
