"""Take-downs: tracks, artists and albums that this process must propose to nobody.

Each process holds the whole list and asks Redis each `POLL_S` whether it has changed. While Redis is out of reach, the last
known list stays in force. If Redis has lost the list, or part of it, the processes that knew it write it back.
"""

import asyncio
from collections.abc import Callable

import structlog

from service.blocks import NO_BLOCKS, Block, Blocks
from service.errors import StoreUnavailableError
from service.observing.logs import Trouble
from service.store.take_downs import TakeDownStore, Version

POLL_S = 0.5
"""A change is in force everywhere after this time and a round trip: within a second."""

logger = structlog.get_logger()


class TakeDowns:
    """The list of take-downs as this process knows it, updated from Redis."""

    def __init__(self, store: TakeDownStore, clock: Callable[[], int]) -> None:
        """`clock` returns Unix time in milliseconds."""
        self._store, self._clock = store, clock
        self._version: Version | None = None
        self._changing = asyncio.Lock()
        self._trouble = Trouble("the list of take-downs cannot be read; the last known one stays in force")
        self.blocks: Blocks = NO_BLOCKS
        """A new object after each change."""

    def fault(self) -> str | None:
        """Return why this process may propose a track that was taken down; None if it knows the list."""
        return "the list of take-downs has not been read yet" if self._version is None else None

    async def add(self, block: Block) -> bool:
        """Take a block down for everybody. It holds in this process at once. Returns False if the list is full.

        Raises StoreUnavailableError.
        """
        async with self._changing:
            await self._refresh()
            room = await self._store.add([block], self._clock())
            if room:
                self.blocks = self.blocks.with_block(block)
        return room

    async def remove(self, block: Block) -> None:
        """End a take-down. Raises StoreUnavailableError."""
        async with self._changing:
            await self._store.remove(block)
            self.blocks = self.blocks.without(block)

    async def refresh(self) -> None:
        """Read the list from Redis. If Redis does not answer, the known list stays in force."""
        try:
            async with self._changing:
                await self._refresh()
        except StoreUnavailableError as error:
            self._trouble(error)

    async def _refresh(self) -> None:
        listed = await self._store.read(self._version)
        if listed is None:
            return
        if self._has_lost(listed.version) and self.blocks:
            logger.error("Redis has lost take-downs; they are written back", before=self._version, found=listed.version)
            await self._store.add([*self.blocks], self._clock())
            listed = await self._store.read(None) or listed
        self._version, self.blocks = listed

    def _has_lost(self, found: Version) -> bool:
        """Return whether Redis has lost changes: it has another list than the known one, or an older state of it."""
        known = self._version
        if known is None or not known.lineage:
            return False
        return found.lineage != known.lineage or found.changes < known.changes
