"""Progress of a long step: a bar on a terminal, elsewhere (cron, Docker, a file) a line every 30 seconds."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

EVERY_S = 30.0


class Steps(Protocol):
    """The interface through which a long step reports its progress."""

    def advance(self) -> None:
        """Count one more step as done."""

    def note(self, text: str) -> None:
        """Show this text next to the progress from now on."""


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
        yield _Silent()
    elif not console.is_terminal:
        yield _Lines(title, total, console, done, clock)
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


class _Silent:
    def advance(self) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class _Bar:
    def __init__(self, bars: Progress, title: str, total: int, done: int) -> None:
        self._bars = bars
        self._task = bars.add_task(escape(title), total=total, completed=done, note="")

    def advance(self) -> None:
        self._bars.advance(self._task)

    def note(self, text: str) -> None:
        self._bars.update(self._task, note=escape(text))


class _Lines:
    def __init__(self, title: str, total: int, console: Console, done: int, clock: Callable[[], float]) -> None:
        self._title, self._total, self._console, self._clock = title, total, console, clock
        self._done = self._before = done
        self._note = ""
        self._started = self._said = clock()

    def advance(self) -> None:
        self._done += 1
        now = self._clock()
        if now - self._said < EVERY_S:
            return
        self._said = now
        left_s = (now - self._started) / (self._done - self._before) * max(0, self._total - self._done)
        parts = [f"{self._done:,} of {max(self._total, self._done):,}", f"about {in_words(left_s)} left", self._note]
        text = f"{self._title}: {', '.join(part for part in parts if part)}"
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def note(self, text: str) -> None:
        self._note = text


def in_words(seconds: float) -> str:
    """Return a duration in words: `40 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    hours, rest = divmod(minutes, 60)
    return f"{minutes} min" if minutes < 90 else f"{hours} h {rest} min"
