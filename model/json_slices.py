r"""Large lists in JSON files, written so that they can be read a slice at a time.

Python's interpreter runs no other thread while one call parses JSON. At a million tracks this would stop a service that loads a
new artifact for a good part of a second. So a line of the file holds at most `SLICE` items, and each line is parsed by itself:

    [                             {"titles":[
    "a","b","c",                  "Blue","Green",
    "d"                           "Red"
    ]                             ],"durations_ms":[
                                  ...

Such a file is ordinary JSON. A line break inside a string is written as `\n`, so every line break in the file is one of these.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from model.pauses import STEP, Pause, no_pause

SLICE = STEP
_OPENS = re.compile(rb'(?:\{|\],)"(\w+)":\[')


class OtherFormError(Exception):
    """A file has another form than `dumps` writes. The ordinary reader of JSON may still read it, or says what is wrong."""


def dumps(value: object) -> str:
    """Return a value as compact JSON. The items of a list, or of the lists in an object, are in slices. ValueError on NaN or
    infinity.
    """
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_compact(name)}:{dumps(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        slices = [_compact(value[start : start + SLICE])[1:-1] for start in range(0, len(value), SLICE)]
        return "[\n" + ",\n".join(slices) + "\n]"
    return _compact(value)


def read_list(path: Path, kind: Any) -> Iterator[Any]:
    """Return the items of the list in a file. They are parsed a slice at a time, as they are asked for.

    Raises OtherFormError, perhaps after some items, if `dumps` did not write the file or if an item is not of the type `kind`.
    """
    lines = path.read_bytes().split(b"\n")
    if (lines[0], lines[-1]) != (b"[", b"]"):
        raise OtherFormError(path)
    for some in _slices(path, kind, lines[1:-1]):
        yield from some


def read_columns(path: Path, kinds: Mapping[str, Any], pause: Pause = no_pause) -> dict[str, list[Any]]:
    """Return the object of lists in a file. `kinds` has the type of each list's items. `pause` is called after each slice.

    Raises OtherFormError if `dumps` did not write the file, if it has another list, or if an item is of another type.
    """
    lines = path.read_bytes().split(b"\n")
    heads = [place for place, line in enumerate(lines) if _OPENS.fullmatch(line)]
    if not heads or heads[0] != 0 or lines[-1] != b"]}":
        raise OtherFormError(path)
    columns: dict[str, list[Any]] = {}
    for head, end in pairwise([*heads, len(lines) - 1]):
        name = lines[head].split(b'"')[1].decode()
        if name not in kinds:
            raise OtherFormError(path)
        columns[name] = []
        for some in _slices(path, kinds[name], lines[head + 1 : end]):
            columns[name] += some
            pause()
    return columns


def _slices(path: Path, kind: Any, lines: Sequence[bytes]) -> Iterator[list[Any]]:
    adapter = TypeAdapter(list[kind])
    for line in lines:
        try:
            some = adapter.validate_json(b"[" + line.removesuffix(b",") + b"]", strict=True)
        except ValidationError as error:
            raise OtherFormError(path) from error
        yield some


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
