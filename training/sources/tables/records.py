"""JSON: one object in each line (JSON Lines), or one array of objects.

Numbers keep their digits as text, however many they are. A line that is not a JSON object is one broken row. So is a row with a
list or an object where text or a number is expected, or with `true` outside of the columns that are true or false.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import polars as pl

from training.data.log import LogError
from training.sources.tables.files import File
from training.sources.tables.lines import NOT_UTF8, escaped, line_blocks, printable
from training.sources.tables.streams import count_lines, text_blocks
from training.sources.tables.table import ABOUT_ROWS, BLANK, FAULT, LINE, PASSED, RAW, Table
from training.sources.tables.values import as_text, float_text

LARGEST_ARRAY = 128 << 20
"""Largest number of characters of an array, which is read whole. Parsed, it takes about ten times as many bytes."""
OTHER_KEYS = "an object with none of the expected keys"
_ARRAY_BLOCK = 50_000


class Record(NamedTuple):
    """The result of reading one line, or one element of an array."""

    number: int  # of the line or element, from 1
    value: Mapping[str, Any] | None = None  # None if it is not an object
    fault: str | None = None
    passed: str | None = None
    text: str | None = None  # of the line


def open_records(file: File, encoding: str | None, *, booleans: Collection[str] = ()) -> Table:
    """Open a JSON file as a table. `booleans` are the columns that may be true or false."""
    array = is_array(file, encoding)
    first = next(record_blocks(file, encoding), [])
    columns = dict.fromkeys(chain.from_iterable(record.value for record in first if record.value is not None))

    def rows(names: Sequence[str]) -> Iterator[pl.DataFrame]:
        return (frame_of(block, names, booleans) for block in record_blocks(file, encoding))

    return Table(
        file=file,
        columns=tuple(columns),
        open=True,
        rows=rows,
        count=lambda: count_records(file, encoding),
        unit="element" if array else "line",
    )


def is_array(file: File, encoding: str | None) -> bool:
    """Say whether a file's text begins with `[`."""
    for text in text_blocks(file, encoding):
        if begun := text.lstrip("\ufeff \t\r\n"):
            return begun.startswith("[")
    return False


def record_blocks(file: File, encoding: str | None) -> Iterator[list[Record]]:
    """Yield all records of a file, in lots."""
    if not is_array(file, encoding):
        for block in line_blocks(file, encoding):
            yield [_decoded(number, text) for number, text in enumerate(block.lines, block.first)]
        return
    found = load_array(file, encoding)
    for first in range(0, len(found), _ARRAY_BLOCK):
        yield [_record(number, value) for number, value in enumerate(found[first : first + _ARRAY_BLOCK], first + 1)]


def count_records(file: File, encoding: str | None) -> int:
    """Count the records of a file: its line ends, or the elements of its array."""
    return len(load_array(file, encoding)) if is_array(file, encoding) else count_lines(file, encoding)


def load_array(file: File, encoding: str | None) -> list[Any]:
    """Return the elements of a JSON array. LogError if it is not valid JSON, or too large to be read whole."""
    parts: list[str] = []
    size = 0
    for text in text_blocks(file, encoding):
        parts.append(text)
        size += len(text)
        if size > LARGEST_ARRAY:
            raise LogError(f"{file.name}: one JSON array of more than {LARGEST_ARRAY >> 20} MB; write an object a line instead")
    whole = "".join(parts).removeprefix("\ufeff")
    if escaped(whole):
        raise LogError(f"{file.name} has {NOT_UTF8}")
    try:
        found = _DECODER.decode(whole)
    except (ValueError, RecursionError) as error:
        raise LogError(f"{file.name} is not sound JSON: {error}") from error
    return found if isinstance(found, list) else [found]


def frame_of(records: Sequence[Record], names: Sequence[str], booleans: Collection[str]) -> pl.DataFrame:
    """Make a frame of the values under `names`, as text, and judge each record."""
    faults = [record.fault for record in records]
    columns = [_column(name, records, faults, boolean=name in booleans) for name in names]
    for place, record in enumerate(records):
        if faults[place] is None and record.value is not None and record.value.keys().isdisjoint(names):
            faults[place] = OTHER_KEYS
    about = {
        LINE: [record.number for record in records],
        FAULT: faults,
        PASSED: [record.passed for record in records],
        RAW: [
            None if fault is None else printable(record.text or str(record.value))
            for record, fault in zip(records, faults, strict=True)
        ],
    }
    return pl.DataFrame([*columns, *pl.DataFrame(about, schema=ABOUT_ROWS)])


def _column(name: str, records: Sequence[Record], faults: list[str | None], *, boolean: bool) -> pl.Series:
    values = [None if record.value is None else record.value.get(name) for record in records]
    if {type(value) for value in values} - {str, type(None)}:
        for place, value in enumerate(values):
            values[place], fault = as_text(value, boolean=boolean)
            faults[place] = faults[place] or (fault and f"{name} is {fault}; wanted text or a number")
    try:
        return pl.Series(name, values, pl.String)
    except UnicodeEncodeError:  # a lone surrogate, which JSON can contain but text cannot
        for place, value in enumerate(values):
            if value is not None and escaped(value):
                values[place], faults[place] = None, faults[place] or f"{name} with half a character (a lone surrogate)"
        return pl.Series(name, values, pl.String)


def _decoded(number: int, text: str) -> Record:
    if not text.strip():
        return Record(number, passed=BLANK)
    if escaped(text):
        return Record(number, fault=NOT_UTF8, text=text)
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError):
        return Record(number, fault="a line that is no JSON", text=text)
    if isinstance(value, dict):
        return Record(number, value, text=text)
    return Record(number, fault="a line that is no JSON object", text=text)


def _record(number: int, value: object) -> Record:
    if isinstance(value, dict):
        return Record(number, value)
    return Record(number, fault="an element that is no JSON object", text=str(value))


def _number(text: str) -> str:
    """Returns a float's digits as they are written. With an exponent, returns the whole number if it is exact."""
    if "e" not in text and "E" not in text:
        return text
    return float_text(float(text)) or ""


def _constant(text: str) -> str | None:
    return None if text == "NaN" else text


_DECODER = json.JSONDecoder(parse_int=str, parse_float=_number, parse_constant=_constant)
