"""What every kind of file becomes: frames of its columns, with a place and a verdict for each row.

A frame has the columns that were asked for, under the file's own names, as text (a Parquet file's times stay times), and the
columns below. Each line of a text file after the header gives one row, so that rows can be counted against lines: a row is
taken, or it is broken and `FAULT` says why, or it is passed over and `PASSED` says why.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from training.sources.tables.files import File

LINE, FAULT, PASSED, RAW = "__line", "__fault", "__passed", "__raw"
"""Line or row number from 1, why the row is broken, why it is passed over, and the text of a row that could not be split."""
ABOUT_ROWS = pl.Schema({LINE: pl.Int64(), FAULT: pl.String(), PASSED: pl.String(), RAW: pl.String()})

BLANK = "blank line"


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """The rows of one file."""

    file: File
    columns: tuple[str, ...]
    open: bool = False  # later rows may have further columns, as in JSON
    rows: Callable[[Sequence[str]], Iterator[pl.DataFrame]]  # takes column names, yields frames. Absent columns are null
    count: Callable[[], int]  # counts the rows in the file without the code that reads them
    unit: str = "row"  # `LINE` numbers lines, elements or rows
