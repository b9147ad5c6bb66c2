"""Keeps the latest warnings and errors of this process for its status."""

from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from structlog.typing import EventDict

KEPT = 50
_LEVELS = {"warning", "error", "critical"}


class LoggedTrouble(NamedTuple):
    """A warning or an error: its time, level and message, and how often it has occurred since the last log line."""

    at: datetime
    level: str
    what: str
    times: int


class RecentTrouble:
    """Stores the latest `KEPT` warnings and errors. It is a structlog processor that must follow the one that adds the
    level.
    """

    def __init__(self) -> None:
        self._latest: deque[LoggedTrouble] = deque(maxlen=KEPT)

    def __call__(self, _: object, __: str, line: EventDict) -> EventDict:
        """Store a log line that is a warning or an error, and return it unchanged. Its cause is not stored, because it may name
        hosts.
        """
        if line.get("level") in _LEVELS:
            times = line.get("times")
            what = str(line.get("event"))
            self._latest.append(LoggedTrouble(datetime.now(UTC), line["level"], what, times if isinstance(times, int) else 1))
        return line

    def newest_first(self) -> Sequence[LoggedTrouble]:
        """Return the stored warnings and errors, the newest first."""
        return list(reversed(self._latest))
