"""JSON with every odd value that a program can write: each line or element becomes a row or an error that names it."""

import json
from pathlib import Path

import polars as pl
import pytest

from training.data.log import LogError
from training.sources.tables import records
from training.sources.tables.files import File
from training.sources.tables.lines import NOT_UTF8
from training.sources.tables.records import OTHER_KEYS, open_records
from training.sources.tables.table import BLANK, FAULT, LINE, PASSED, RAW, Table


def table_of(folder: Path, text: str | bytes) -> Table:
    """Open a file with this text as a table."""
    path = folder / "log.jsonl"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return open_records(File(path=path, name="log.jsonl", folders=()), None, booleans=("asked",))


def frame_of(table: Table, *names: str) -> pl.DataFrame:
    """Return all rows with these columns."""
    return pl.concat(table.rows(names))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ('"7"', "7"),
        ("7", "7"),
        ("7.0", "7.0"),  # `training.data.checks` makes the same id of 7.0 and 7
        ("7e2", "700"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("1e16", "1e+16"),
        ("1e999999999", "inf"),
        ("null", None),
        ("NaN", None),
        ("Infinity", "Infinity"),
        ('"caf\\u00e9"', "café"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_values_keep_their_digits(tmp_path: Path, value: str, text: str | None) -> None:
    """Numbers become text with all of their digits. A missing value is null."""
    frame = frame_of(table_of(tmp_path, f'{{"id": {value}}}\n'), "id")

    assert frame.select("id", FAULT).rows() == [(text, None)]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('{"id": true}', "id is true or false; wanted text or a number"),
        ('{"id": [1]}', "id is a list; wanted text or a number"),
        ('{"id": {"a": 1}}', "id is an object; wanted text or a number"),
        ('{"id": "\\ud800"}', "id with half a character (a lone surrogate)"),
        ('{"name": 1}', OTHER_KEYS),
        ("[1, 2]", "a line that is no JSON object"),
        ("7", "a line that is no JSON object"),
        ('{"id": 7', "a line that is no JSON"),
        ("{'id': 7}", "a line that is no JSON"),
        ('{"id": 7} {"id": 8}', "a line that is no JSON"),
        ("[" * 100_000, "a line that is no JSON"),
        ("user_id,track_id", "a line that is no JSON"),
    ],
)
def test_a_line_that_cannot_be_taken_breaks_one_row(tmp_path: Path, line: str, fault: str) -> None:
    """The lines around it are read, and the line can be shown."""
    frame = frame_of(table_of(tmp_path, f'{{"id": 1}}\n{line}\n{{"id": 3}}\n'), "id")

    assert frame[FAULT].to_list() == [None, fault, None]
    assert frame["id"].to_list()[::2] == ["1", "3"]
    assert frame[RAW].to_list()[1] == line[:300]


def test_columns_that_may_be_true_or_false_are_read(tmp_path: Path) -> None:
    """A boolean is refused as an id, but it is a valid value of other columns, and is read as text."""
    assert frame_of(table_of(tmp_path, '{"asked": false}\n{"asked": true}\n'), "asked")["asked"].to_list() == ["false", "true"]


def test_keys_that_only_later_lines_have_are_read(tmp_path: Path) -> None:
    """A JSON table is open: any later line can bring another key."""
    table = table_of(tmp_path, '{"a": 1}\n{"a": 2, "b": 3}\n')

    assert table.open
    assert frame_of(table, "a", "b").select("a", "b").rows() == [("1", None), ("2", "3")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_every_unicode_encoding_is_read(tmp_path: Path, encoding: str) -> None:
    """The text has a byte order mark, or zeros between its first letters."""
    table = table_of(tmp_path, '{"id": "ü"}\n\n{"id": "é"}\n'.encode(encoding))

    assert frame_of(table, "id").select(LINE, "id", PASSED).rows() == [(1, "ü", None), (2, None, BLANK), (3, "é", None)]
    assert table.count() == 3


def test_bytes_that_are_not_utf8_break_their_line(tmp_path: Path) -> None:
    """The next line is read."""
    frame = frame_of(table_of(tmp_path, b'{"id": "caf\xe9"}\n{"id": "7"}\n'), "id")

    assert frame.select("id", FAULT).rows() == [(None, NOT_UTF8), ("7", None)]


def test_an_array_of_objects_is_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read in lots. An element that is not an object is a broken row."""
    monkeypatch.setattr(records, "_ARRAY_BLOCK", 2)
    table = table_of(tmp_path, "\ufeff " + json.dumps([{"id": 1}, {"id": 2}, [3], {"id": 4.5}, None]))

    frame = frame_of(table, "id")

    assert frame.select(LINE, "id").rows() == [(1, "1"), (2, "2"), (3, None), (4, "4.5"), (5, None)]
    assert frame[FAULT].to_list() == [
        None,
        None,
        *["an element that is no JSON object", None] * 1,
        "an element that is no JSON object",
    ]
    assert table.count() == 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[{"id": 1}, {"id": 2', "log.jsonl is not sound JSON"),
        ("[" * 100_000, "log.jsonl is not sound JSON"),
        (b'[{"id": "\xe9"}]', "log.jsonl has bytes that are not UTF-8"),
    ],
)
def test_an_array_that_is_not_sound_is_refused(tmp_path: Path, text: str | bytes, words: str) -> None:
    """Its elements cannot be separated, so the error names the file."""
    with pytest.raises(LogError, match=words):
        frame_of(table_of(tmp_path, text), "id")


def test_an_array_that_does_not_fit_in_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which form to write instead."""
    monkeypatch.setattr(records, "LARGEST_ARRAY", 1 << 20)

    with pytest.raises(LogError, match="one JSON array of more than 1 MB; write an object a line"):
        table_of(tmp_path, "[" + " " * (2 << 20) + "]")
