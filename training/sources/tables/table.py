"""The common form of all files: frames of their columns, with a place and a verdict for each row.

A frame has the requested columns, under the file's own names, as text (times of a Parquet file stay times), and the columns
below. Each line of a text file after the header gives one row, so that rows can be counted against lines. A row is read; or it
is broken, and `FAULT` has the reason; or it is passed over, and `PASSED` has the reason.
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
