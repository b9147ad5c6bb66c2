"""Converts Python values, from JSON and databases, into the text that a CSV file would contain."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

_WHOLE_FLOATS = 2**53  # above this, floats cannot represent every whole number


def as_text(value: object, *, boolean: bool) -> tuple[str | None, str | None]:
    """Return a value as text, or the kind of a value that cannot be converted. `boolean`: it may be true or false."""
    if value is None or isinstance(value, str):
        return value, None
    if isinstance(value, bool):
        return str(value).lower(), None if boolean else "true or false"
    for kind, text in _TEXTS.items():
        if isinstance(value, kind):
            return text(value), None
    return None, next((name for kind, name in _ODD.items() if isinstance(value, kind)), "an object")


def float_text(value: float) -> str | None:
    """Return a float as text: whole numbers without decimals, None for NaN, and an exponent if digits are lost."""
    if value != value:  # noqa: PLR0124 # NaN is the one value that differs from itself
        return None
    return str(int(value)) if value.is_integer() and abs(value) < _WHOLE_FLOATS else repr(value)


_TEXTS: dict[type, Callable[[Any], str | None]] = {
    int: str,
    float: float_text,
    Decimal: lambda value: None if value.is_nan() else format(value, "f"),
    datetime: lambda value: value.isoformat(" "),
    date: str,
    timedelta: lambda value: str(round(value / timedelta(milliseconds=1))),
    UUID: str,
}
_ODD: dict[type, str] = {list: "a list", tuple: "a list", bytes: "bytes", memoryview: "bytes"}
