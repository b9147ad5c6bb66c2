"""Pauses in long work, so that other threads of the process go on.

Python runs one thread at a time. A thread that prepares a hundred thousand ids takes the interpreter from the event loop again
and again, and each time for as long as the shortest step takes. So such work is done in short steps, with a pause after each.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

Pause = Callable[[], object]
"""Called after each step."""
STEP = 500
"""Number of items in a step. It takes about a quarter of a millisecond."""
REST_S = 0.001
Item = TypeVar("Item")


def no_pause() -> None:
    """Go on at once, where no other thread waits."""


def rest() -> None:
    """Leave the interpreter to other threads for a millisecond, about four times as long as a step takes."""
    time.sleep(REST_S)


def steps(items: Iterable[Item], pause: Pause) -> Iterator[list[Item]]:
    """Return the items in lists of `STEP`, and call `pause` after each."""
    unread = iter(items)
    while some := list(islice(unread, STEP)):
        yield some
        pause()


def in_steps(items: Iterable[Item], pause: Pause) -> Iterator[Item]:
    """Return the same items, and call `pause` after every `STEP` of them."""
    for some in steps(items, pause):
        yield from some
