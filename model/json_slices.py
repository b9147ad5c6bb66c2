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
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

SLICE = 10_000
_OPENS = re.compile(rb'(?:\{|\],)"(\w+)":\[')


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


def read_list(path: Path, kind: Any) -> list[Any] | None:
    """Return the list in a file. Its items must be of the type `kind`. None if `dumps` did not write the file, or if an item is
    of another type.
    """
    lines = path.read_bytes().split(b"\n")
    if (lines[0], lines[-1]) != (b"[", b"]"):
        return None
    return _items(kind, lines[1:-1])


def read_columns(path: Path, kinds: Mapping[str, Any]) -> dict[str, list[Any]] | None:
    """Return the object of lists in a file. `kinds` has the type of each list's items. None if `dumps` did not write the file,
    if it has another list, or if an item is of another type.
    """
    lines = path.read_bytes().split(b"\n")
    heads = [place for place, line in enumerate(lines) if _OPENS.fullmatch(line)]
    if not heads or heads[0] != 0 or lines[-1] != b"]}":
        return None
    columns = {}
    for head, end in pairwise([*heads, len(lines) - 1]):
        name = lines[head].split(b'"')[1].decode()
        items = _items(kinds[name], lines[head + 1 : end]) if name in kinds else None
        if items is None:
            return None
        columns[name] = items
    return columns


def _items(kind: Any, lines: Sequence[bytes]) -> list[Any] | None:
    adapter = TypeAdapter(list[kind])
    found: list[Any] = []
    try:
        for line in lines:
            found += adapter.validate_json(b"[" + line.removesuffix(b",") + b"]", strict=True)
    except ValidationError:
        return None
    return found


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
