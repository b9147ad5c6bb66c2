"""Writes a count with its noun, as messages to a person need it."""


def counted(number: int, noun: str) -> str:
    """Return a number and its noun, in the plural unless it is one: `1 session`, `7,237 sessions`, `0 sessions`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
