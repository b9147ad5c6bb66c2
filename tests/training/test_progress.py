"""Progress without a terminal: how often a line is printed, and its text."""

import threading
from collections.abc import Callable, Mapping
from io import StringIO

import pytest
from rich.console import Console

from training.progress import EVERY_S, SHORT_S, Lines, in_words, progress


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def run(lines: Lines, clock: Clock, *, steps: int, step_s: float, at: Mapping[int, Callable[[], None]] | None = None) -> None:
    """Run a job of so many steps. Time passes only while the printing waits. `at` has calls by the step before them."""
    begun, made = clock.now, 0

    def ended(seconds: float) -> bool:
        nonlocal made
        until = clock.now + seconds
        while made < steps and begun + (made + 1) * step_s <= until:
            made += 1
            clock.now = begun + made * step_s
            lines.advance()
            (at or {}).get(made, lambda: None)()
        clock.now = begun + steps * step_s if made == steps else until
        return made == steps

    lines.print_until(ended)


def test_a_line_every_thirty_seconds_says_how_long_it_will_take() -> None:
    """A step takes two seconds. After 15 steps 85 are left, which is 170 s. Nothing is printed in between, or for a short
    job.
    """
    out, clock = StringIO(), Clock()
    lines = Lines("train [b]one", 100, Console(file=out, width=20), 0, clock)
    run(lines, clock, steps=31, step_s=2, at={20: lambda: lines.note("ndcg@10 0.2")})

    assert EVERY_S == 30
    assert out.getvalue().splitlines() == [
        "train [b]one: 15 % done, about 3 min left",
        "train [b]one: 30 % done, about 2 min left, ndcg@10 0.2",
    ]


def test_a_long_step_is_no_gap_between_lines() -> None:
    """A step takes 70 seconds. Before the first one has ended, nobody knows how long the others will take."""
    out, clock = StringIO(), Clock()
    run(Lines("export", 2, Console(file=out), 0, clock), clock, steps=2, step_s=70)

    assert out.getvalue().splitlines() == [
        "export: 0 % done",
        "export: 0 % done",
        "export: 50 % done, about 50 s left",
        "export: 50 % done, about 20 s left",
    ]


def test_the_thirty_seconds_go_on_over_all_stages() -> None:
    """Each of four stages takes 20 seconds. A line is due at 30, in the middle of the second one. The next one is due at 60,
    when the fourth one has just begun, and waits until it is 10 seconds old.
    """
    out, clock = StringIO(), Clock()
    console = Console(file=out)
    for name in "abcd":
        run(Lines(name, 10, console, 0, clock), clock, steps=10, step_s=2)

    assert SHORT_S == 10
    assert out.getvalue().splitlines() == ["b: 50 % done, about 10 s left", "d: 50 % done, about 10 s left"]


def test_stages_that_take_seconds_are_not_named() -> None:
    """A hundred of them are over before anybody could read a line."""
    out, clock = StringIO(), Clock()
    console = Console(file=out)
    for name in range(100):
        run(Lines(str(name), 3, console, 0, clock), clock, steps=3, step_s=3)

    assert out.getvalue() == ""


def test_a_step_that_takes_longer_than_the_others_has_no_time_left() -> None:
    """After each epoch the network is measured, which is no step. "0 s left" would be wrong."""
    out, clock = StringIO(), Clock()
    lines = Lines("train", 4, Console(file=out), 0, clock)
    run(lines, clock, steps=2, step_s=1)
    clock.now += 30
    lines.print_until(lambda _: bool(out.getvalue()))

    assert out.getvalue().splitlines() == ["train: 50 % done"]


def test_steps_of_an_earlier_command_do_not_count_for_the_speed() -> None:
    """A run that continues at step 50 has made one step in 30 s. The other 49 will take 24 minutes, not 30 seconds."""
    out, clock = StringIO(), Clock()
    run(Lines("train", 100, Console(file=out), 50, clock), clock, steps=2, step_s=30)

    assert out.getvalue().splitlines() == ["train: 51 % done, about 24 min left"]


def test_more_steps_than_were_expected_are_no_error() -> None:
    """The number of batches is an estimate."""
    out, clock = StringIO(), Clock()
    run(Lines("train", 1, Console(file=out), 0, clock), clock, steps=3, step_s=30)

    assert out.getvalue().splitlines() == ["train: 100 % done", "train: 100 % done"]


def test_lines_are_printed_while_the_job_does_something_else_and_no_longer() -> None:
    """By this clock every look is 30 seconds later, so lines follow one another at once. They end with the job."""
    printed, clock, threads = threading.Event(), Clock(), threading.active_count()

    class Out(StringIO):
        def write(self, text: str) -> int:
            printed.set()
            return super().write(text)

    def later() -> float:
        clock.now += EVERY_S
        return clock.now

    out = Out()
    with progress("train", 2, Console(file=out), clock=later):
        assert printed.wait(60)

    assert out.getvalue().splitlines()[0] == "train: 0 % done"
    assert threading.active_count() == threads


def test_a_terminal_gets_a_bar_and_a_caller_without_console_nothing() -> None:
    """The bar shows the count and the note. Brackets in the title are no markup."""
    out = StringIO()
    with progress("train [b]one", 4, Console(file=out, force_terminal=True, width=100), done=1) as steps:
        steps.advance()
        steps.note("ndcg@10 0.2")
    with progress("train", 4, None) as silent:
        silent.advance()
        silent.note("nothing")

    assert "train [b]one" in out.getvalue()
    assert "2/4" in out.getvalue()
    assert "ndcg@10 0.2" in out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5_000, "83 min"), (12_000, "3 h 20 min")]
)
def test_durations_read_as_people_say_them(seconds: float, words: str) -> None:
    """The units are seconds, minutes and hours."""
    assert in_words(seconds) == words
