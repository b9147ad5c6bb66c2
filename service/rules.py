"""The rules of a reply: options of a request, such as gaps between tracks of one artist, and the tracks that these options
mask.

A request may set each rule. What it does not set follows the service's settings of the same names. `model.rules` has the part
that the trainer measures too: spacing, draws and the shift of novelty.

It knows neither HTTP nor Redis nor ONNX.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any, NamedTuple, TypedDict, cast

from model.artifact import Artifact
from model.catalogue_index import NameIndex
from model.long_history import heard_since
from model.rules import DAY_MS, ListRules, Spacing, spacing
from service.settings import Settings
from service.store.recent_masks import Masks
from service.store.sessions import Remembered

LIST_END = 1_000
"""A gap that no list reaches."""


class AskedRules(TypedDict, total=False):
    """The rules that a request sets. A missing rule, or None, is taken from the settings."""

    artist_gap: int | None
    album_gap: int | None
    not_heard_days: float | None
    replay: bool | None
    novelty: float | None
    explore: float | None
    explain: bool | None


_NAMES = tuple(AskedRules.__annotations__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules(ListRules):
    """All rules of one reply, from the request and the settings."""

    explain: bool = False
    """Whether the reply says why each track is in it."""

    def with_asked(self, asked: AskedRules) -> "Rules":
        """Return a copy in which the rules that the request sets replace those of the settings."""
        changed: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
        return replace(self, **changed) if changed else self

    @property
    def reads_all(self) -> bool:
        """Return whether a rule needs all stored plays of the listener, not only those that the model reads."""
        return self.not_heard_days > 0 or self.novelty != 0


def rules_of(settings: Settings) -> Rules:
    """Return the rules of a request that sets none."""
    return Rules(
        artist_gap=settings.artist_gap,
        album_gap=settings.album_gap,
        not_heard_days=settings.not_heard_days,
        replay=not settings.exclude_played,
        novelty=settings.novelty,
        explore=settings.explore,
        explain=settings.explain,
    )


def heard_tracks(remembered: Remembered, since_ms: float = -inf) -> list[str]:
    """Return the tracks that a listener has played after `since_ms`, as far back as the history was read."""
    later = [entry.track_id for entry in remembered.history.entries if entry.at_ms > since_ms]
    return [*heard_since(remembered.past, since_ms), *later]


def masked(rules: Rules, masks: Masks, exclude: Sequence[str], remembered: Remembered, now_ms: int) -> set[str]:
    """Return the tracks that must not be proposed: by the masks, by `exclude`, and by the rules about heard tracks."""
    heard: Iterable[str] = ()
    if rules.novelty >= 1:
        heard = heard_tracks(remembered)
    elif rules.not_heard_days:
        heard = heard_tracks(remembered, now_ms - rules.not_heard_days * DAY_MS)
    return {*masks.skipped, *masks.disliked, *exclude, *heard, *(() if rules.replay else masks.played)}


def asked_rules(body: object) -> AskedRules:
    """Return the rules that a parsed body sets, from its attributes of the same names."""
    return cast("AskedRules", {name: value for name in _NAMES if (value := getattr(body, name)) is not None})


class Gap(NamedTuple):
    """Keeps tracks with one of these names `size` places apart."""

    size: int
    names: NameIndex


class Spacings:
    """Makes the constraints that keep tracks of one artist, album or recording apart in a list. A list has each recording
    once.
    """

    def __init__(self, artifact: Artifact) -> None:
        self._vocabulary, self._index = artifact.vocabulary, artifact.catalogue_index
        self._has_names = any(map(len, (self._index.artists, self._index.albums, self._index.recordings)))

    def with_other_releases(self, track_ids: Iterable[str]) -> set[str]:
        """Return the given tracks and all other releases of the same recordings."""
        found, recordings = set(track_ids), self._index.recordings
        if not len(recordings):
            return found
        known = self._vocabulary.known_rows(found)
        return found.union(self._vocabulary.named({other for row in known for other in recordings.others(row).tolist()}))

    def gaps(self, rules: Rules) -> Sequence[Gap]:
        """Return the gaps that apply. Without any, a list is just the best tracks. A gap of 1 needs no check."""
        if not self._has_names:
            return ()
        index = self._index
        gaps = (Gap(rules.artist_gap, index.artists), Gap(rules.album_gap, index.albums), Gap(LIST_END, index.recordings))
        return [gap for gap in gaps if gap.size > 1 and len(gap.names)]

    def of(self, gaps: Sequence[Gap], rows: Sequence[int], just_played: Sequence[str]) -> list[Spacing]:
        """Return the constraints for a ranking of `rows`, best first. `just_played` has the tracks just played, oldest
        first.
        """
        found = []
        for size, names in gaps:
            played = [] if names is self._index.recordings else just_played[1 - size :]  # `masked` decides on replays
            found.append(spacing(size, names, rows, self._vocabulary.rows(played)))
        return found
