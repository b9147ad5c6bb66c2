"""Parquet files of every flat type give the same text as files of other formats."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from training.data.log import LogError
from training.sources.tables import parquet
from training.sources.tables.files import File
from training.sources.tables.parquet import open_parquet
from training.sources.tables.table import FAULT, LINE, Table


def table_of(folder: Path, **columns: Any) -> Table:
    """Open a file with these columns as a table."""
    pl.DataFrame(columns).write_parquet(folder / "log.parquet")
    return open_parquet(File(path=folder / "log.parquet", name="log.parquet", folders=()), booleans=("asked",))


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([7, None], ["7", None]),
        ([7.0, float("nan")], ["7", None]),
        ([2.5, 1e16], ["2.5", "1e+16"]),
        ([Decimal(7), Decimal(8)], ["7", "8"]),
        (["7", ""], ["7", ""]),
        (pl.Series(["a", "b"], dtype=pl.Categorical()), ["a", "b"]),
        (pl.Series([2**63, 1], dtype=pl.UInt64), ["9223372036854775808", "1"]),
        ([None, None], [None, None]),
        ([timedelta(seconds=3), None], ["3000", None]),
    ],
)
def test_values_become_text(tmp_path: Path, values: Any, texts: list[str | None]) -> None:
    """Whole floats have no decimals, so an id is the same whether its column has gaps or not."""
    assert next(table_of(tmp_path, id=values).rows(["id"]))["id"].to_list() == texts


def test_times_stay_times(tmp_path: Path) -> None:
    """They keep their zone."""
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)

    assert next(table_of(tmp_path, at=[noon]).rows(["at"]))["at"].to_list() == [noon]


@pytest.mark.parametrize(
    ("values", "kind"), [([["t"]], r"List\(String\)"), ([{"a": 1}], "Struct"), ([b"t"], "Binary"), ([True], "Boolean")]
)
def test_a_column_of_another_kind_is_refused(tmp_path: Path, values: Any, kind: str) -> None:
    """The error names the column. It is refused only if it is needed."""
    table = table_of(tmp_path, id=values, asked=[True])

    with pytest.raises(LogError, match=f"log.parquet: column id is {kind}.*wanted text, numbers or times"):
        table.rows(["id"])
    assert next(table.rows(["asked"]))["asked"].to_list() == ["true"]


def test_rows_are_read_in_slices_and_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory holds one slice. A column that is missing is null."""
    monkeypatch.setattr(parquet, "SLICE", 3)
    table = table_of(tmp_path, id=range(7))

    frames = list(table.rows(["id", "other"]))

    assert [len(frame) for frame in frames] == [3, 3, 1]
    assert pl.concat(frames).select(LINE, "id", "other", FAULT).rows()[6] == (7, "6", None, None)
    assert table.count() == 7


def test_a_file_without_rows_is_a_table(tmp_path: Path) -> None:
    """Spark writes such parts."""
    table = table_of(tmp_path, id=pl.Series([], dtype=pl.String))

    assert (list(table.rows(["id"])), table.count()) == ([], 0)


@pytest.mark.parametrize("cut", [0, 10, -10])
def test_a_damaged_file_is_named(tmp_path: Path, cut: int) -> None:
    """The damage may be at its start or at its end."""
    table_of(tmp_path, id=range(1000))
    path = tmp_path / "log.parquet"
    path.write_bytes(path.read_bytes()[:cut] if cut else b"not at all")

    with pytest.raises(LogError, match=r"log.parquet cannot be read as Parquet"):
        open_parquet(File(path=path, name="log.parquet", folders=()))


def test_damaged_pages_are_named_when_they_are_read(tmp_path: Path) -> None:
    """The footer is intact, so the columns are known before."""
    table = table_of(tmp_path, id=[str(number) for number in range(5000)])
    path = tmp_path / "log.parquet"
    data = bytearray(path.read_bytes())
    data[20:2000] = bytes(1980)
    path.write_bytes(data)

    with pytest.raises(LogError, match=r"log.parquet cannot be read as Parquet"):
        list(table.rows(["id"]))


def test_a_small_file_of_very_many_rows_is_refused(tmp_path: Path) -> None:
    """One value, repeated ten million times, takes a few kilobytes on disk and would take gigabytes in memory."""
    pl.select(pl.repeat("u", 10_000_000).alias("id")).lazy().sink_parquet(tmp_path / "log.parquet", row_group_size=10_000_000)
    table = open_parquet(File(path=tmp_path / "log.parquet", name="log.parquet", folders=()))

    with pytest.raises(LogError, match=r"log.parquet expands to 76 MB, over 300 times its size"):
        list(table.rows(["id"]))


def test_a_compressed_file_is_refused(tmp_path: Path) -> None:
    """Parquet is compressed inside, and a reader must be able to seek in it."""
    with pytest.raises(LogError, match=r"log.parquet.gz: a Parquet file is compressed inside; unpack it first"):
        open_parquet(File(path=tmp_path / "log.parquet.gz", name="log.parquet.gz", folders=()))
