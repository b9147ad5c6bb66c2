"""Logs in a database: the rows of a query, in the canonical columns, through any driver that SQLAlchemy knows.

A path is a database URL: `postgresql+psycopg://user:password@host/name`, `mysql+pymysql://…`, `sqlite:///file.db`. The query
must return the columns of the source `canonical`, and `--column`, `--user`, `--type` and `--timezone` work in the same way. A
time that the database stores without a zone needs `--timezone`. Passwords are not written to the log. Licence: the log's own.
"""

from collections.abc import Iterator

from training.data.log import LogError
from training.sources.canonical import canonical_part, names
from training.sources.reading import Part, Request
from training.sources.tables.files import Ignored
from training.sources.tables.query import open_query


def read(request: Request) -> Iterator[Part | Ignored]:
    """Read the rows of the request's query, from one database or from several."""
    if not request.query:
        raise LogError("source sql wants --query, for example --query 'SELECT user_id, track_id, at, type FROM plays'")
    asked = names(request)["asked"]
    for url, shown in request.places.items():
        yield canonical_part(open_query(url, request.query, name=shown, booleans=(asked,)), request)
