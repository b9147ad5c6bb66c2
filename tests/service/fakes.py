"""Fakes that implement the protocols of the real parts. `test_sessions.py` tests `MemorySessions` like the real store."""

import threading
from collections.abc import Collection, Mapping, Sequence

from model.artifact import Artifact
from model.batch_memory import Cost
from model.encoding import RowHistory
from model.events import Event, EventType, HistoryRule, fold
from model.graphs import Scores
from service.blocks import Block, Blocks
from service.errors import ServiceError, StoreUnavailableError
from service.store.sessions import HistoryReader, Remembered
from service.store.stored import Stored
from service.store.take_downs import Listed, Version


class MemorySessions:
    """A session store in a dictionary, for tests that are not about Redis."""

    def __init__(self, rule: HistoryRule, *, keep: int = 256, keep_opinions: int = 1_000, keep_blocks: int = 10_000) -> None:
        self._rule, self._keep, self._keep_opinions = rule, keep, keep_opinions
        self._events: dict[str, dict[str, Event]] = {}
        self._keep_blocks = keep_blocks
        self._blocks: dict[str, dict[Block, int]] = {}
        self.reads = 0

    async def record(self, events: Mapping[str, Sequence[Event]]) -> Mapping[str, Sequence[bool]]:
        recorded = {}
        for user_id, of_user in events.items():
            known = self._events.setdefault(user_id, {})
            recorded[user_id] = [known.setdefault(event.event_id, event) is event for event in of_user]
        return recorded

    async def read(self, user_id: str, now_ms: int, reader: HistoryReader | None = None) -> Remembered:
        self.reads += 1
        events = sorted(self._events.get(user_id, {}).values())
        history = fold(events[-self._keep :], reader.rule if reader else self._rule, now_ms=now_ms)
        opinions: dict[str, tuple[int, EventType, str]] = {}
        for event in events:
            if event.type >= EventType.LIKE and not event.private:
                opinions[event.track_id] = (event.at_ms, event.type, event.track_id)
        said = {track_id: type for _, type, track_id in sorted(opinions.values())[-self._keep_opinions :]}
        if any(event.private for event in events):
            said |= {track_id: EventType[outcome.name[:-1]] for track_id, outcome in history.opinions(now_ms).items()}
        return Remembered(
            history=history,
            disliked=frozenset(track_id for track_id, type in said.items() if type is EventType.DISLIKE),
            expires_in_ms=1_000 if events else None,
            blocks=Blocks.of(self._blocks.get(user_id, {})),
        )

    async def export(self, user_id: str) -> Stored:
        events = sorted(self._events.get(user_id, {}).values())
        opinions = {
            event.track_id: (event.type, event.at_ms) for event in events if event.type >= EventType.LIKE and not event.private
        }
        blocks = self._blocks.get(user_id, {})
        return Stored(events=events, opinions=opinions, blocks=blocks, expires_in_ms={"events": 1_000} if events else {})

    async def block(self, user_id: str, block: Block, now_ms: int) -> bool:
        blocks = self._blocks.setdefault(user_id, {})
        if block not in blocks and len(blocks) >= self._keep_blocks:
            return False
        blocks.setdefault(block, now_ms)
        return True

    async def unblock(self, user_id: str, block: Block) -> None:
        self._blocks.get(user_id, {}).pop(block, None)

    async def forget(self, user_id: str) -> int:
        kept = [kind.pop(user_id, None) for kind in (self._events, self._blocks)]
        return sum(1 for one in kept if one)

    async def ping(self) -> None:
        return None


class BrokenSessions:
    """A session store that cannot be reached."""

    async def record(self, events: Mapping[str, Sequence[Event]]) -> Mapping[str, Sequence[bool]]:
        raise StoreUnavailableError(f"cannot record {len(events)} users")

    async def read(self, user_id: str, now_ms: int, reader: HistoryReader | None = None) -> Remembered:
        raise StoreUnavailableError(f"cannot read {user_id} at {now_ms} as {reader}")

    async def export(self, user_id: str) -> Stored:
        raise StoreUnavailableError(f"cannot export {user_id}")

    async def block(self, user_id: str, block: Block, now_ms: int) -> bool:
        raise StoreUnavailableError(f"cannot block {block} for {user_id} at {now_ms}")

    async def unblock(self, user_id: str, block: Block) -> None:
        raise StoreUnavailableError(f"cannot unblock {block} for {user_id}")

    async def forget(self, user_id: str) -> int:
        raise StoreUnavailableError(f"cannot forget {user_id}")

    async def ping(self) -> None:
        raise StoreUnavailableError("gone fishing")


class LosableSessions(MemorySessions):
    """A session store in memory that cannot be reached while `lost` is set."""

    lost = False

    async def record(self, events: Mapping[str, Sequence[Event]]) -> Mapping[str, Sequence[bool]]:
        self._reach()
        return await super().record(events)

    async def read(self, user_id: str, now_ms: int, reader: HistoryReader | None = None) -> Remembered:
        self._reach()
        return await super().read(user_id, now_ms, reader)

    async def export(self, user_id: str) -> Stored:
        self._reach()
        return await super().export(user_id)

    async def block(self, user_id: str, block: Block, now_ms: int) -> bool:
        self._reach()
        return await super().block(user_id, block, now_ms)

    async def unblock(self, user_id: str, block: Block) -> None:
        self._reach()
        await super().unblock(user_id, block)

    async def forget(self, user_id: str) -> int:
        self._reach()
        return await super().forget(user_id)

    async def ping(self) -> None:
        self._reach()

    def _reach(self) -> None:
        if self.lost:
            raise StoreUnavailableError("lost")


class MemoryTakeDowns:
    """The list of take-downs in memory."""

    def __init__(self, *blocks: Block, most: int = 10_000) -> None:
        self._most = most
        self.listed = Listed(Version("here", 0), Blocks.of(blocks))

    async def read(self, known: Version | None) -> Listed | None:
        return None if known == self.listed.version else self.listed

    async def add(self, blocks: Collection[Block], now_ms: int) -> bool:
        assert now_ms > 0
        new = [block for block in blocks if block not in {*self.listed.blocks}]
        room = self._most - len(self.listed.blocks)
        for block in new[:room]:
            self._change(self.listed.blocks.with_block(block))
        return len(new) <= room

    async def remove(self, block: Block) -> None:
        self._change(self.listed.blocks.without(block))

    def _change(self, blocks: Blocks) -> None:
        self.listed = Listed(Version("here", self.listed.version.changes + 1), blocks)


class BrokenTakeDowns:
    """A list of take-downs that cannot be reached."""

    async def read(self, known: Version | None) -> Listed | None:
        raise StoreUnavailableError(f"cannot read what follows {known}")

    async def add(self, blocks: Collection[Block], now_ms: int) -> bool:
        raise StoreUnavailableError(f"cannot add {blocks} at {now_ms}")

    async def remove(self, block: Block) -> None:
        raise StoreUnavailableError(f"cannot remove {block}")


class RecordingScorer:
    """A scorer that prefers high rows, first among them a listener's request-local ones. It records each request."""

    def __init__(self, artifact: Artifact) -> None:
        self._end = len(artifact.vocabulary)
        self.histories: list[RowHistory] = []
        self.excluded: list[Sequence[int]] = []
        self.candidates: list[Sequence[int]] = []

    async def best(self, history: RowHistory, excluded: Sequence[int], count: int) -> Scores:
        self.histories.append(history)
        self.excluded.append(excluded)
        own = 0 if history.own is None else int(history.own.own_tracks.max()) + 1
        rows = [row for row in range(max(self._end, own) - 1, 1, -1) if row not in excluded][:count]
        return Scores(rows, [float(row) for row in rows], 0.001)

    async def rank(self, history: RowHistory, candidates: Sequence[int]) -> Scores:
        self.histories.append(history)
        self.candidates.append(candidates)
        return Scores(candidates, [float(row) for row in candidates], 0.001)

    async def rank_each(self, histories: Sequence[RowHistory], candidates: Sequence[Sequence[int]]) -> Sequence[Scores]:
        return [await self.rank(history, rows) for history, rows in zip(histories, candidates, strict=True)]

    def fault(self) -> str | None:
        return None


class FailingScorer(RecordingScorer):
    """A scorer that records each request and then raises the given error."""

    def __init__(self, artifact: Artifact, error: ServiceError) -> None:
        super().__init__(artifact)
        self._error = error

    async def best(self, history: RowHistory, excluded: Sequence[int], count: int) -> Scores:
        await super().best(history, excluded, count)
        raise self._error

    async def rank(self, history: RowHistory, candidates: Sequence[int]) -> Scores:
        await super().rank(history, candidates)
        raise self._error


class GatedRunner:
    """A batch runner that waits at a gate and then answers each history with its own first row.

    It reports runs of `ran_s` seconds. The default is so long that a batch takes every waiting request.
    """

    def __init__(self, *, is_open: bool = True, ran_s: float = 1.0, cost_mb: int = 1) -> None:
        self._ran_s, self._cost_mb = ran_s, cost_mb
        self.gate = threading.Event()
        if is_open:
            self.gate.set()
        self.entered = threading.Semaphore(0)
        self.batches: list[int] = []

    def best(
        self, histories: Sequence[RowHistory], excluded: Sequence[Sequence[int]], counts: Sequence[int]
    ) -> Sequence[Scores]:
        self._pass(len(histories))
        return [
            Scores([history.rows[0]] * count, [float(len(rows))] * count, self._ran_s)
            for history, rows, count in zip(histories, excluded, counts, strict=True)
        ]

    def rank(self, histories: Sequence[RowHistory], candidates: Sequence[Sequence[int]]) -> Sequence[Scores]:
        self._pass(len(histories))
        return [Scores(rows, [float(row) for row in rows], self._ran_s) for rows in candidates]

    def cost(self, rows: int, count: int | None) -> Cost:
        return Cost(1024 * 1024 * (self._cost_mb + rows // 100), is_large=count is not None and rows >= 1_000)

    def _pass(self, size: int) -> None:
        self.batches.append(size)
        self.entered.release()
        self.gate.wait(30)


class UnsoundRunner(GatedRunner):
    """A batch runner whose scores are unsound for histories that begin with row 13."""

    def best(
        self, histories: Sequence[RowHistory], excluded: Sequence[Sequence[int]], counts: Sequence[int]
    ) -> Sequence[Scores]:
        found = super().best(histories, excluded, counts)
        return [scores._replace(sound=history.rows[0] != 13) for scores, history in zip(found, histories, strict=True)]


class FailingRunner(GatedRunner):
    """A batch runner that fails until `broken` is unset."""

    broken = True

    def _pass(self, size: int) -> None:
        super()._pass(size)
        if self.broken:
            raise RuntimeError("the graph is broken")
