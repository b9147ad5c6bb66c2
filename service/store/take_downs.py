"""Stores the list of take-downs in Redis.

    nexttrack:blocks   hash: lineage, changes, and for each block its text -> when it was taken down; it never expires

It is the one key that never expires: a take-down holds until somebody ends it. It has at most `MOST` blocks and says nothing of
any listener. Each service process polls the key, which costs one small round trip unless the list has changed.
"""

import secrets
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, Protocol

from service.blocks import NO_BLOCKS, Block, Blocks, read_block
from service.store.connections import RedisClient
from service.store.formats import pack_block
from service.store.redis_connection import Command, checked
from service.store.scripts import Script, run_script

KEY = "nexttrack:blocks"
MOST = 10_000
"""Blocks of the list. Each process holds them all, and reads them all after a change."""


class Version(NamedTuple):
    """Identifies a state of the list: the list's lineage, and how often it was changed."""

    lineage: str = ""
    changes: int = 0


class Listed(NamedTuple):
    """The list of take-downs as Redis has it, with its version."""

    version: Version = Version()
    blocks: Blocks = NO_BLOCKS


class TakeDownStore(Protocol):
    """Stores the list of take-downs. All methods raise StoreUnavailableError if the store does not answer in time."""

    async def read(self, known: Version | None) -> Listed | None:
        """Return the list; None if it still has the `known` version."""

    async def add(self, blocks: Collection[Block], now_ms: int) -> bool:
        """Add as many blocks to the list as there is room for. Returns whether all were added."""

    async def remove(self, block: Block) -> None:
        """Remove a block. It is no error if there is none."""


class RedisTakeDowns:
    """Stores the list of take-downs in Redis."""

    def __init__(self, client: RedisClient, *, most: int = MOST) -> None:
        """`most` is how many blocks the list may have."""
        self._client, self._most = client, most
        self._change, self._read = Script.load("take_downs.lua"), Script.load("read_take_downs.lua")

    async def read(self, known: Version | None) -> Listed | None:
        asked = ("-", "-") if known is None else (known.lineage, str(known.changes))
        [reply] = await run_script(self._run, self._read, [([KEY], asked)])
        if len(reply) == 2:  # lineage and changes alone: the reader knows the list
            return None
        lineage, changes, texts = reply
        blocks = [block for text in texts.decode(errors="replace").split("\n") if (block := read_block(text))]
        return Listed(Version(lineage.decode(), int(changes)), Blocks.of(blocks))

    async def add(self, blocks: Collection[Block], now_ms: int) -> bool:
        return await self._changed("add", blocks, pack_block(now_ms))

    async def remove(self, block: Block) -> None:
        await self._changed("remove", [block], "")

    async def _changed(self, how: str, blocks: Collection[Block], value: str) -> bool:
        pairs = [part for block in blocks for part in (str(block), value)]
        [room] = await run_script(self._run, self._change, [([KEY], [how, secrets.token_hex(8), self._most, *pairs])])
        return bool(room)

    async def _run(self, commands: Sequence[Command]) -> list[Any]:
        return checked(await self._client.run(commands))
