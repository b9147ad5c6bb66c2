"""Progress of a long stage: a bar on a terminal, elsewhere (cron, Docker, a file) a line every 30 seconds.

A thread prints the lines, so a step that takes minutes does not delay them. The 30 seconds go on over all stages with the same
console. A stage that takes less than 10 seconds is not named.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Protocol
from weakref import WeakKeyDictionary

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

EVERY_S, SHORT_S = 30.0, 10.0
"""Seconds between lines, and the age that a stage must have to be named."""
_SAID: "WeakKeyDictionary[Console, float]" = WeakKeyDictionary()
"""When each console got its last line."""


class Steps(Protocol):
    """The interface through which a long step reports its progress."""

    def advance(self) -> None:
        """Count one more step as done."""

    def note(self, text: str) -> None:
        """Show this text next to the progress from now on."""


class _Silent:
    def advance(self) -> None:
        pass

    def note(self, text: str) -> None:
        pass


SILENT: Steps = _Silent()
"""Steps whose progress nobody sees."""


@contextmanager
def progress(
    title: str,
    total: int,
    console: Console | None,
    *,
    done: int = 0,
    transient: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Steps]:
    """Show the progress of `total` steps on the console, of which `done` were made before. Without a console, show nothing.

    `transient` bars are cleared at the end.
    """
    if console is None:
        yield SILENT
    elif not console.is_terminal:
        lines, ended = Lines(title, total, console, done, clock), Event()
        thread = Thread(target=lines.print_until, args=(ended.wait,), daemon=True)
        thread.start()
        try:
            yield lines
        finally:
            ended.set()
            thread.join()
    else:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=console, transient=transient) as bars:
            yield _Bar(bars, title, total, done)


class _Bar:
    def __init__(self, bars: Progress, title: str, total: int, done: int) -> None:
        self._bars = bars
        self._task = bars.add_task(escape(title), total=total, completed=done, note="")

    def advance(self) -> None:
        self._bars.advance(self._task)

    def note(self, text: str) -> None:
        self._bars.update(self._task, note=escape(text))


class Lines:
    """The steps of a stage whose progress is printed as lines."""

    def __init__(self, title: str, total: int, console: Console, done: int, clock: Callable[[], float]) -> None:
        self._title, self._total, self._console, self._clock = title, total, console, clock
        self._done = self._before = done
        self._note = ""
        self._started = self._advanced = clock()
        _SAID.setdefault(console, self._started)

    def advance(self) -> None:
        """Count one more step as done."""
        self._done += 1
        self._advanced = self._clock()

    def note(self, text: str) -> None:
        """Show this text at the end of each line from now on."""
        self._note = text

    def print_until(self, ended: Callable[[float], bool]) -> None:
        """Print a line whenever the console's last one is `EVERY_S` old and the stage at least `SHORT_S`, until the stage ends.

        `ended` waits at most so many seconds for the end, and returns whether the stage has ended.
        """
        while not ended(max(0.0, max(_SAID[self._console] + EVERY_S, self._started + SHORT_S) - self._clock())):
            _SAID[self._console] = self._clock()
            self._print()

    def _print(self) -> None:
        done = self._done
        parts = [f"{100 * done // max(self._total, done)} % done"]
        if done > self._before:
            left_s = (self._advanced - self._started) / (done - self._before) * (self._total - done)
            left_s -= self._clock() - self._advanced
            parts += [f"about {in_words(left_s)} left"] if left_s > 0 else []  # a step that takes longer than the others
        text = f"{self._title}: {', '.join(part for part in (*parts, self._note) if part)}"
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def in_words(seconds: float) -> str:
    """Return a duration in words: `40 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    hours, rest = divmod(minutes, 60)
    return f"{minutes} min" if minutes < 90 else f"{hours} h {rest} min"
