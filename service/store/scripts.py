"""Runs the Lua scripts of this folder in Redis, by their SHA-1, and loads them where Redis has lost them."""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from redis.exceptions import NoScriptError

from service.store.redis_connection import Command

Run = Callable[[Sequence[Command]], Awaitable[list[Any]]]
"""Sends commands to Redis and returns their replies. A script that Redis does not know has NoScriptError as reply."""
Call = tuple[Sequence[str], Sequence[str | bytes | int]]
"""The keys and the arguments of a script."""


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script: its text, and the SHA-1 by which Redis names it."""

    text: str
    sha: str

    @classmethod
    def load(cls, *names: str) -> "Script":
        """Read a script from files of this folder, joined in the given order."""
        text = "\n".join(resources.files("service.store").joinpath(name).read_text(encoding="utf-8") for name in names)
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())  # Redis names scripts by SHA-1


async def run_script(run: Run, script: Script, calls: Sequence[Call]) -> list[Any]:
    """Run a script once for each of `calls` and return the replies. It takes one round trip, unless Redis must first load the
    script.
    """
    replies = await run([("EVALSHA", script.sha, len(keys), *keys, *arguments) for keys, arguments in calls])
    missing = [place for place, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
    if missing:
        again = await run(
            [("EVAL", script.text, len(calls[place][0]), *calls[place][0], *calls[place][1]) for place in missing]
        )
        for place, reply in zip(missing, again, strict=True):
            replies[place] = reply
    return replies
