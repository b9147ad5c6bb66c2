"""Remembers how far a backfill has come, so that one that was stopped goes on there.

The file lies in the log's folder, one for each service. A new import of the log deletes it with the folder, so a grown log is
sent from its first listener on. A backfill that ends deletes it too.
"""

import json
import os
from dataclasses import asdict, dataclass
from hashlib import sha256

from training.backfilling.newest_events import Wanted
from training.data.log import Log


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """The counts of a backfill so far. `after` is the last listener whose events were all sent; None before the first."""

    after: str | None = None
    listeners: int = 0
    new: int = 0
    known: int = 0

    @property
    def events(self) -> int:
        """Return the number of events that were sent: new ones, and those that the service had already."""
        return self.new + self.known


class ProgressFile:
    """The file that stores the progress of a backfill. A file of another version, or of another `wanted`, is ignored."""

    def __init__(self, log: Log, url: str, wanted: Wanted) -> None:
        self.path = log.folder / f"backfill-{sha256(url.encode()).hexdigest()[:12]}.json"
        self._of = {"url": url, **asdict(wanted)}

    def read(self) -> Sent:
        """Return the counts of the backfill that was stopped; zeros if there was none."""
        try:
            found = json.loads(self.path.read_text("utf-8"))
            return Sent(**found["sent"]) if found["of"] == self._of else Sent()
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return Sent()

    def write(self, sent: Sent) -> None:
        """Replace the file in one step, so that a reader finds either the old or the new one."""
        draft = self.path.with_suffix(".new")
        draft.write_text(json.dumps({"of": self._of, "sent": asdict(sent)}), "utf-8")
        os.replace(draft, self.path)

    def delete(self) -> None:
        """Delete the file: the next backfill begins anew."""
        self.path.unlink(missing_ok=True)
