"""Runs the Lua scripts of this folder in Redis, by their SHA-1, and loads them where Redis has lost them.

Settings stand in a script's text as constants. As arguments they would be sent, and read in Lua, at each call.
"""

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
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
    def load(
        cls,
        *names: str,
        constants: Mapping[str, int | float | str] = MappingProxyType({}),
        functions: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> "Script":
        """Read a script from files of this folder, joined in the given order.

        `constants` stand before it under their names. Each of `functions` is a Lua function whose body is the text of files, so
        that Lua runs them only where the script calls it.
        """
        parts = [f"local {name} = {json.dumps(value)}" for name, value in constants.items()]
        for function, files in functions.items():
            parts += [f"local function {function}()", *map(_text, files), "end"]
        text = "\n".join([*parts, *map(_text, names)])
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


def _text(name: str) -> str:
    return resources.files("service.store").joinpath(name).read_text(encoding="utf-8")
