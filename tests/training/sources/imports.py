"""Imports in a test, without output. They return the log, or raise the import's error."""

from io import StringIO
from pathlib import Path

from rich.console import Console

from training.data.import_log import import_log
from training.data.log import Log
from training.sources.times import Clock


def imported(
    source: str, out: Path, *paths: Path, user: str | None = None, zone: str | None = None, max_broken: float = 0.0
) -> Log:
    """Import files or folders, and return the log."""
    return import_log(
        source,
        list(map(str, paths)),
        out,
        user=user,
        clock=Clock(zone=zone),
        max_broken=max_broken,
        console=Console(file=StringIO()),
    )


def rows(log: Log, *columns: str) -> list[tuple[object, ...]]:
    """Return the log's events in order, with these columns."""
    return log.events().collect().select(columns).rows()
