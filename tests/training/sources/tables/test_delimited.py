"""CSV with every mistake that a program or a person can make: each line becomes a row or an error that names it."""

import csv
import io
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.log import LogError
from training.sources.tables import streams
from training.sources.tables.delimited import INSIDE, REPEATED, Delimited, open_delimited
from training.sources.tables.files import File
from training.sources.tables.lines import NOT_UTF8
from training.sources.tables.table import BLANK, FAULT, LINE, PASSED, RAW, Table

UNCLOSED = "a quote opens a field and nothing closes it"


def table_of(folder: Path, text: str | bytes, form: Delimited | None = None) -> Table:
    """Open a file with this text as a table."""
    path = folder / "log.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    table = open_delimited(File(path=path, name="log.csv", folders=()), None, form)
    assert table is not None
    return table


def frame_of(table: Table) -> pl.DataFrame:
    """Return all rows of a table."""
    return pl.concat(table.rows(table.columns))


def verdicts(folder: Path, *lines: str) -> list[str | None]:
    """Return the fault of each line below the header `a,b,c`, or None if it is a row."""
    frame = frame_of(table_of(folder, "\n".join(["a,b,c", *lines])))
    return [fault or passed for fault, passed in frame.select(FAULT, PASSED).iter_rows()]


def rows(folder: Path, *lines: str) -> list[tuple[str, ...]]:
    """Return the sound rows below the header `a,b,c`."""
    frame = frame_of(table_of(folder, "\n".join(["a,b,c", *lines])))
    return frame.filter(pl.col(FAULT).is_null() & pl.col(PASSED).is_null()).select("a", "b", "c").rows()


@pytest.mark.parametrize(
    ("line", "row"),
    [
        ('1,12" Mix,x', ("1", '12" Mix', "x")),
        ('1,12" and 7",x', ("1", '12" and 7"', "x")),
        ('1,"Song (12" Mix)",x', ("1", 'Song (12" Mix)', "x")),
        ('1,"say ""hi""",x', ("1", 'say "hi"', "x")),
        ('1,"a, b",x', ("1", "a, b", "x")),
        ('1, "a, b" ,x', ("1", "a, b", "x")),
        ('1,"",x', ("1", "", "x")),
        ('"1","2","3"', ("1", "2", "3")),
        ('1,2,3" ', ("1", "2", '3" ')),
        ("1,2,3,,", ("1", "2", "3")),
        ("1,it's,`x`", ("1", "it's", "`x`")),
    ],
)
def test_quotes_are_read_as_they_are_meant(tmp_path: Path, line: str, row: tuple[str, ...]) -> None:
    """The lines have inch marks, quotes within quotes, spaces around quotes, and empty fields. Each gives one row, and so does
    the next line.
    """
    assert rows(tmp_path, line, "4,5,6") == [row, ("4", "5", "6")]


@pytest.mark.parametrize("last", ["7,8,9", '7,"8",9', '7,8,9"', '7,"8,9', '7,8,"""'])
def test_a_quote_that_nothing_closes_costs_its_own_line_alone(tmp_path: Path, last: str) -> None:
    """A later quote could close it, but lines that look like rows are rows."""
    found = verdicts(tmp_path, '1,"2,3', "4,5,6", last)

    assert found == [UNCLOSED, None, UNCLOSED if last in ('7,"8,9', '7,8,"""') else None]


def test_a_quoted_field_may_hold_line_ends(tmp_path: Path) -> None:
    """Then the row takes several lines, and the lines after the first are counted as part of it."""
    frame = frame_of(table_of(tmp_path, 'a,b,c\r\n1,"two\r\nlines, and ""more""\r\n",3\r\n4,5,6\r\n'))

    assert frame.filter(pl.col(PASSED).is_null()).select(LINE, "a", "b", "c").rows() == [
        (2, "1", 'two\nlines, and "more"\n', "3"),
        (5, "4", "5", "6"),
    ]
    assert frame[PASSED].to_list() == [None, INSIDE, INSIDE, None]


@pytest.mark.parametrize("size", [16, 23, 64, 200])
def test_rows_do_not_depend_on_where_blocks_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """A block may end within a quoted field, a line, or a character."""
    text = 'a,b,c\n1,"two\nlines\nand three",ü\n4,"é,é",6\n7,"8,9\n10,11,12\n13,"14\n",15\n'
    whole = frame_of(table_of(tmp_path, text))
    monkeypatch.setattr(streams, "BLOCK", size)

    assert frame_of(table_of(tmp_path, text)).equals(whole)
    assert whole[FAULT].to_list() == [None, None, None, None, UNCLOSED, None, None, None]


def test_lines_that_are_no_rows_say_why(tmp_path: Path) -> None:
    """They are blank, repeat the header, or have too few or too many fields."""
    found = verdicts(tmp_path, "", "  ", ",,", '"","",', "a,b,c", "1,2", "1,2,3,4", '1,"2"', '1,"2",3,4', "not a row at all")

    assert found == [
        *[BLANK] * 4,
        REPEATED,
        "fewer fields than the 3 columns",
        "more fields than the 3 columns",
        "fewer fields than the 3 columns",
        "more fields than the 3 columns",
        "fewer fields than the 3 columns",
    ]


def test_a_broken_line_is_kept_to_be_shown(tmp_path: Path) -> None:
    """It keeps its line number, too."""
    frame = frame_of(table_of(tmp_path, "a,b,c\n1,2,3\n\n1,2\n"))

    assert frame.filter(pl.col(FAULT).is_not_null()).select(LINE, RAW).rows() == [(4, "1,2")]


def test_a_long_line_is_shown_by_its_start(tmp_path: Path) -> None:
    """Nobody wants a megabyte on the terminal."""
    frame = frame_of(table_of(tmp_path, "a,b,c\n" + "x" * 1_000_000))

    assert [len(text) for text in frame[RAW]] == [300]


def test_bytes_that_are_not_utf8_break_their_line(tmp_path: Path) -> None:
    """It holds within and outside of quotes. The lines around them are read."""
    frame = frame_of(table_of(tmp_path, b'a,b,c\n1,caf\xe9,3\n4,\xc3\xa9,6\n7,"caf\xe9",9\n'))

    assert frame[FAULT].to_list() == [NOT_UTF8, None, NOT_UTF8]
    assert frame["b"].to_list()[1] == "é"
    assert frame[RAW].to_list()[0] == "1,caf\\udce9,3"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("close", [True, False])
def test_line_ends_of_every_system_are_read(tmp_path: Path, end: str, close: bool) -> None:  # a parameter
    """The line ends are those of Unix, Windows and old Macintosh computers. The last line may have none."""
    table = table_of(tmp_path, end.join(["a,b,c", "1,2,3", "4,5,6"]) + end * close)

    assert frame_of(table).select("a", "b", "c").rows() == [("1", "2", "3"), ("4", "5", "6")]
    assert table.count() == 2


def test_signs_that_only_python_takes_for_line_ends_are_text(tmp_path: Path) -> None:
    """U+2028, U+0085 and form feeds do not end a line."""
    assert rows(tmp_path, "1,a\u2028b\x85c\x0cd,3") == [("1", "a\u2028b\x85c\x0cd", "3")]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_header_shows_the_separator(tmp_path: Path, separator: str) -> None:
    """In half of the world, spreadsheets write semicolons."""
    table = table_of(tmp_path, f'"a"{separator}b{separator}c\n1{separator}"2{separator}2"{separator}3\n')

    assert table.columns == ("a", "b", "c")
    assert frame_of(table)["b"].to_list() == [f"2{separator}2"]


def test_a_format_may_have_neither_header_nor_quotes(tmp_path: Path) -> None:
    """Then every line is a row, and a quote is an ordinary character."""
    table = table_of(tmp_path, 'sep=;\t"Heroes\n\n2\t3\n', Delimited(separator="\t", names=("a", "b"), quotes=False))

    assert frame_of(table).select("a", "b", PASSED).rows() == [("sep=;", '"Heroes', None), ("", None, BLANK), ("2", "3", None)]
    assert table.count() == 3


def test_excels_hint_says_the_separator(tmp_path: Path) -> None:
    """`sep=;` in the first line is no header."""
    table = table_of(tmp_path, "sep=;\na;b,b;c\n1;2;3\n")

    assert table.columns == ("a", "b,b", "c")
    assert (len(frame_of(table)), table.count()) == (1, 1)


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """It is ambiguous, unless the column is not needed."""
    table = table_of(tmp_path, "a,b,b\n1,2,3\n")

    with pytest.raises(LogError, match=r"log.csv: found 2 columns called b; wanted one"):
        table.rows(["a", "b"])
    assert next(table.rows(["a"]))["a"].to_list() == ["1"]


@pytest.mark.parametrize(("header", "words"), [('a,"b,c', UNCLOSED), (b"a,b\xe9,c", r"bytes that are not UTF-8")])
def test_a_header_that_cannot_be_read_is_refused(tmp_path: Path, header: str | bytes, words: str) -> None:
    """Without a header, rows have no meaning."""
    with pytest.raises(LogError, match=f"log.csv: line 1, the header.*{words}"):
        table_of(tmp_path, header)


def test_a_file_without_text_is_no_table(tmp_path: Path) -> None:
    """Spark writes such parts."""
    (tmp_path / "log.csv").write_bytes(b"\xef\xbb\xbf\n \n")

    assert open_delimited(File(path=tmp_path / "log.csv", name="log.csv", folders=()), None) is None


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gigabyte in one line is no log, and would not fit in memory."""
    monkeypatch.setattr("training.sources.tables.lines.LONGEST_LINE", 1000)

    with pytest.raises(LogError, match=r"log.csv: line 3 has more than 1,000 characters"):
        frame_of(table_of(tmp_path, "a,b,c\n1,2,3\n" + "x" * 2000))


FIELD = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=8)


@settings(deadline=None, max_examples=60)
@given(
    table=st.lists(st.tuples(FIELD, FIELD, FIELD), max_size=8),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    separator=st.sampled_from([",", ";", "\t"]),
)
def test_what_a_csv_writer_writes_comes_back(
    tmp_path_factory: pytest.TempPathFactory, table: list[tuple[str, str, str]], quoting: int, separator: str
) -> None:
    """Python's own writer writes the text. Rows with a line that looks like another row may break, but are never lost."""
    into = io.StringIO(newline="")
    writer = csv.writer(into, quoting=quoting, delimiter=separator)  # type: ignore[arg-type] # one of csv's constants
    writer.writerows([("a", "b", "c"), *table])
    found = table_of(tmp_path_factory.mktemp("csv"), into.getvalue(), Delimited(separator=separator))
    frame = frame_of(found)

    assert len(frame) == found.count()
    if not any("\n" in field for row in table for field in row):
        full = [row for row in table if any(field.strip() for field in row) and row != ("a", "b", "c")]
        assert frame.filter(pl.col(PASSED).is_null()).select("a", "b", "c").rows() == full


@settings(deadline=None, max_examples=150)
@given(text=st.text(st.sampled_from('",ab \n\r'), max_size=60), size=st.integers(1, 40))
def test_every_line_of_any_text_is_accounted_for(tmp_path_factory: pytest.TempPathFactory, text: str, size: int) -> None:
    """Whatever the quotes, there are as many rows as lines, numbered one by one, however the file is cut into blocks."""
    table = table_of(tmp_path_factory.mktemp("csv"), "a,b,c\n" + text)
    whole = frame_of(table)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "BLOCK", size)
        cut = frame_of(table)

    assert whole[LINE].to_list() == list(range(2, 2 + table.count()))
    assert cut.equals(whole)
