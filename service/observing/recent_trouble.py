"""Remembers the latest warnings and errors of this process, for whoever looks at its status."""

from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from structlog.typing import EventDict

KEPT = 50
_LEVELS = {"warning", "error", "critical"}


class LoggedTrouble(NamedTuple):
    """A warning or an error: when it was logged, how bad it is, what it says, and how often it happened since the last line."""

    at: datetime
    level: str
    what: str
    times: int


class RecentTrouble:
    """The latest `KEPT` warnings and errors. It is a processor of structlog, behind the one that adds the level."""

    def __init__(self) -> None:
        self._latest: deque[LoggedTrouble] = deque(maxlen=KEPT)

    def __call__(self, _: object, __: str, line: EventDict) -> EventDict:
        """Notes a line. Causes are left out: they may name hosts, and the log has them."""
        if line.get("level") in _LEVELS:
            times = line.get("times")
            what = str(line.get("event"))
            self._latest.append(LoggedTrouble(datetime.now(UTC), line["level"], what, times if isinstance(times, int) else 1))
        return line

    def newest_first(self) -> Sequence[LoggedTrouble]:
        """Returns what is remembered."""
        return list(reversed(self._latest))
