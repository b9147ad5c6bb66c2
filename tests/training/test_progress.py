"""Progress without a terminal: how often a line is printed, and its text."""

from io import StringIO

import pytest
from rich.console import Console

from training.progress import EVERY_S, in_words, progress


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def lines_of(out: StringIO) -> list[str]:
    """Return the printed lines."""
    return out.getvalue().splitlines()


def test_a_line_every_thirty_seconds_says_how_long_it_will_take() -> None:
    """A step takes two seconds. After 15 steps 85 are left, which is 170 s. Nothing is printed in between, or for a short
    job.
    """
    out, clock = StringIO(), Clock()
    with progress("train [b]one", 100, Console(file=out, width=20), clock=clock) as steps:
        for step in range(31):
            clock.now += 2
            steps.advance()
            if step == 20:
                steps.note("ndcg@10 0.2")

    assert EVERY_S == 30
    assert lines_of(out) == [
        "train [b]one: 15 of 100, about 3 min left",
        "train [b]one: 30 of 100, about 2 min left, ndcg@10 0.2",
    ]


def test_steps_of_an_earlier_command_do_not_count_for_the_speed() -> None:
    """A run that continues at step 50 has made one step in 30 s. The other 49 will take 24 minutes, not 30 seconds."""
    out, clock = StringIO(), Clock()
    with progress("train", 100, Console(file=out), done=50, clock=clock) as steps:
        clock.now += 30
        steps.advance()

    assert lines_of(out) == ["train: 51 of 100, about 24 min left"]


def test_more_steps_than_were_expected_are_no_error() -> None:
    """The number of batches is an estimate."""
    out, clock = StringIO(), Clock()
    with progress("train", 1, Console(file=out), clock=clock) as steps:
        for _ in range(2):
            clock.now += 30
            steps.advance()

    assert lines_of(out) == ["train: 1 of 1, about 0 s left", "train: 2 of 2, about 0 s left"]


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
