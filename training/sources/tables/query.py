"""The rows that a database returns for a query, through any driver that SQLAlchemy knows.

The database itself counts the rows, in the transaction in which they are read. The transaction is rolled back at the end.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
from sqlalchemy import Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from training.data.log import LogError
from training.sources.tables.files import File
from training.sources.tables.records import Record, frame_of
from training.sources.tables.table import Table

DATABASES = (".db", ".sqlite", ".sqlite3")
SLICE = 50_000
"""Number of rows fetched at a time."""
_REPEATABLE = ("postgresql", "mysql", "mariadb")  # databases that must be asked for a transaction with one consistent state


def open_query(url: str, query: str, *, name: str | None = None, booleans: Collection[str] = ()) -> Table:
    """Open the rows of `query` as a table. `name` is shown instead of the URL. LogError if the database refuses."""
    shown = name or hide_password(url)
    query = query.strip().rstrip(";")
    engine = _engine(url, shown)
    try:
        with _connected(engine) as connection:
            columns = tuple(map(str, connection.execute(text(f"SELECT * FROM ({query}) AS counted WHERE 1 = 0")).keys()))  # noqa: S608 # the person's own query, on the person's own database
    except SQLAlchemyError as error:
        raise _refused(shown, error) from error
    counted: list[int] = []

    def rows(names: Sequence[str]) -> Iterator[pl.DataFrame]:
        try:
            with _connected(engine) as connection:
                counted[:] = [connection.execute(text(f"SELECT count(*) FROM ({query}) AS counted")).scalar_one()]  # noqa: S608 # as above
                yield from _frames(connection, query, names, booleans)
        except SQLAlchemyError as error:
            raise _refused(shown, error) from error
        finally:
            engine.dispose()

    return Table(file=File(path=Path(), name=shown, folders=()), columns=columns, rows=rows, count=lambda: counted[0])


def open_database(file: File, query: str) -> Table:
    """Open the rows of `query` on an SQLite file as a table. The file is opened for reading only."""
    if file.member is not None or file.path.suffix.lower() not in DATABASES:
        raise LogError(f"{file.name}: a database cannot be read where it is compressed; unpack it first")
    url = f"sqlite:///file:{quote(str(file.path.resolve()))}?mode=ro&uri=true"
    return replace(open_query(url, query, name=file.name), file=file)


def hide_password(url: str) -> str:
    """Return a database's URL without its password. LogError if it is not a database URL."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except (ArgumentError, ValueError) as error:
        raise LogError("wanted a database URL such as postgresql+psycopg://user@host/name or sqlite:///file") from error


def _engine(url: str, shown: str) -> Engine:
    try:
        return create_engine(url)
    except NoSuchModuleError as error:
        raise LogError(f"{shown}: SQLAlchemy knows no such database: {error}") from error
    except ImportError as error:
        raise LogError(f"{shown} wants a driver that is not installed: {error}") from error
    except (SQLAlchemyError, ValueError) as error:
        raise _refused(shown, error) from error


def _connected(engine: Engine) -> Connection:
    connection = engine.connect()
    if engine.dialect.name in _REPEATABLE:
        connection = connection.execution_options(isolation_level="REPEATABLE READ")
    return connection


def _frames(connection: Connection, query: str, names: Sequence[str], booleans: Collection[str]) -> Iterator[pl.DataFrame]:
    result = connection.execution_options(stream_results=True, yield_per=SLICE).execute(text(query))
    found = iter(enumerate(result.mappings(), 1))
    while part := [Record(number, dict[str, Any](row)) for number, row in islice(found, SLICE)]:
        yield frame_of(part, names, booleans)


def _refused(shown: str, error: Exception) -> LogError:
    reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
    return LogError(f"{shown} cannot be read: {reason}")
