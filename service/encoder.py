"""Encodes a listener's history for one model, by the history rule and the inputs in the artifact's manifest."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from model.artifact import LONGEST_HISTORY, Artifact
from model.encoding import RowHistory, read_entries, rows_of
from model.events import Entry
from model.long_history import NO_PAST, OwnHistory, Past, long_history_of, past_entries
from service.store.sessions import HistoryReader, Remembered


class EncodedHistory(NamedTuple):
    """A history as the model reads it, and the ids of the listener's own tracks that have no row (see `model.long_history`)."""

    rows: RowHistory
    unknown: Sequence[str] = ()


class HistoryEncoder:
    """Encodes histories for one artifact. `reader` reads what the model needs, `whole_reader` all that is kept."""

    def __init__(self, artifact: Artifact) -> None:
        self._vocabulary = artifact.vocabulary
        self._rule = artifact.manifest.history
        self._long_history = artifact.manifest.long_history
        self._reads_gaps = "gaps" in artifact.manifest.inputs
        reads_past = self._long_history > 0 and self._rule.scope == "user"
        self.reader = HistoryReader(self._rule, artifact.vocabulary.knows, reads_past)
        self.whole_reader = HistoryReader(replace(self._rule, length=LONGEST_HISTORY), reads_past=True)

    def entries(self, remembered: Remembered, now_ms: int) -> Sequence[Entry]:
        """Return the entries in the scope of the model's history rule, oldest first: all of the listener's, or those of the
        current session.
        """
        return remembered.history.entries if self._rule.scope == "user" else remembered.history.session(now_ms)

    def read_entries(self, remembered: Remembered, now_ms: int) -> Sequence[Entry]:
        """Return the entries that the model reads at `now_ms`, oldest first. A model with a copy head reads tracks without a
        row too.
        """
        entries = self.entries(remembered, now_ms)
        if self._long_history:
            past = remembered.past if self._rule.scope == "user" else NO_PAST
            return [*past_entries(past), *entries][-self._long_history :]
        return read_entries(entries, self._vocabulary, length=self._rule.length)

    def encode(self, entries: Sequence[Entry], session: Sequence[Entry], now_ms: int, past: Past = NO_PAST) -> EncodedHistory:
        """Encode `entries` as the model's inputs at `now_ms`, while `session` continues. `past` has the plays before
        `entries`.
        """
        history = rows_of(entries, self._vocabulary, length=self._rule.length, now_ms=now_ms if self._reads_gaps else None)
        own = self._own(past, entries, session, now_ms)
        return EncodedHistory(history) if own is None else EncodedHistory(history._replace(own=own.encoded), own.unknown)

    def _own(self, past: Past, entries: Sequence[Entry], session: Sequence[Entry], now_ms: int) -> OwnHistory | None:
        """Return the listener's long history; None if the artifact has no copy head that reads it."""
        if not self._long_history:
            return None
        past = past if self._rule.scope == "user" else NO_PAST
        going_on = {entry.session for entry in session}
        return long_history_of(
            entries, self._vocabulary, length=self._long_history, now_ms=now_ms, going_on=going_on, past=past
        )
