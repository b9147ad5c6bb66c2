"""Large lists are written in slices, read back equal, and refused where another tool wrote them or a type is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from model import json_slices
from model.json_slices import SLICE, OtherFormError

AWKWARD = ['a"', "b\\", 'c",', "d\ne", "],", "", "ç", "]", "[", '"titles":[']


def written(tmp_path: Path, text: str) -> Path:
    """Make a file of the text."""
    path = tmp_path / "file.json"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("size", [0, 1, SLICE - 1, SLICE, SLICE + 1, 2 * SLICE])
def test_list_is_read_back_as_it_was(tmp_path: Path, size: int) -> None:
    """Slices begin and end at any place."""
    items = [f"t{number}" for number in range(size)]

    assert list(json_slices.read_list(written(tmp_path, json_slices.dumps(items)), str)) == items


def test_no_text_can_end_a_slice(tmp_path: Path) -> None:
    """Quotes, commas, brackets and line breaks inside strings stay inside."""
    path = written(tmp_path, json_slices.dumps(AWKWARD))

    assert list(json_slices.read_list(path, str)) == AWKWARD
    assert json.loads(path.read_text(encoding="utf-8")) == AWKWARD


def test_columns_are_read_back_as_they_were(tmp_path: Path) -> None:
    """Also an empty one, and one of numbers and nulls."""
    columns: dict[str, list[Any]] = {"titles": AWKWARD * SLICE, "albums": [], "durations_ms": [1, None] * SLICE}
    path = written(tmp_path, json_slices.dumps(columns))
    kinds = {"titles": str, "albums": str | None, "durations_ms": int | None}

    assert json_slices.read_columns(path, kinds) == columns
    assert json.loads(path.read_text(encoding="utf-8")) == columns


@pytest.mark.parametrize("text", ["", "[", '["a"]', '[\n"a"', '[\n"a",\n1\n]', '[\n"a"\n"b"\n]x', "[\n{\n]", '[\n"a"],["b"\n]'])
def test_other_lists_are_left_to_the_ordinary_reader(tmp_path: Path, text: str) -> None:
    """It then says what is wrong, if something is."""
    with pytest.raises(OtherFormError):
        list(json_slices.read_list(written(tmp_path, text), str))


@pytest.mark.parametrize(
    "text",
    ["", "{}", '{"a":["x"]}', '{"b":[\n"x"\n]}', '{"a":[\n1\n]}', '{"a":[\n"x"\n]', '\n{"a":[\n"x"\n]}', '{"a":[\n"x"\n],\n]}'],
)
def test_other_objects_are_left_to_the_ordinary_reader(tmp_path: Path, text: str) -> None:
    """Likewise an object that has a list nobody asked for."""
    with pytest.raises(OtherFormError):
        json_slices.read_columns(written(tmp_path, text), {"a": str})


def test_number_that_json_does_not_have_is_refused() -> None:
    """JSON has no infinity."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_slices.dumps({"a": [float("inf")]})
