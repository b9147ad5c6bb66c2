"""Opens a file as a table, by the ending of its name."""

from collections.abc import Collection

from training.data.log import LogError
from training.sources.tables.delimited import Delimited, open_delimited
from training.sources.tables.files import File
from training.sources.tables.parquet import open_parquet
from training.sources.tables.records import open_records
from training.sources.tables.table import Table

DELIMITED, RECORDS, PARQUET = (".csv", ".tsv"), (".jsonl", ".ndjson", ".json"), (".parquet", ".pq")
KINDS = (*DELIMITED, *RECORDS, *PARQUET)


def open_table(
    file: File, encoding: str | None, *, booleans: Collection[str] = (), form: Delimited | None = None
) -> Table | None:
    """Open a file as a table. None if it is a text file without a line. `booleans` are columns that may be true or false.

    `form` says how a delimited file is written, whatever its name ends in.
    """
    if file.kind in PARQUET:
        return open_parquet(file, booleans=booleans)
    if file.kind in RECORDS:
        return open_records(file, encoding, booleans=booleans)
    if file.kind in DELIMITED or form is not None:
        return open_delimited(file, encoding, form or Delimited(separator="\t" if file.kind == ".tsv" else None))
    raise LogError(f"{file.name}: wanted a name that ends in {', '.join(KINDS)}")
