"""Recipes: what is shipped can be read, what cannot be followed is refused in one sentence that names the key."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from model.events import HistoryRule, SkipRule
from training.recipe import Recipe, RecipeError, read_recipe, recipe_names


def written(tmp_path: Path, text: str) -> str:
    """A recipe's file; its path."""
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\n' + text)
    return str(path)


def refusal(tmp_path: Path, text: str) -> str:
    """What is said of a recipe."""
    with pytest.raises(RecipeError) as caught:
        read_recipe(written(tmp_path, text))
    return str(caught.value)


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipe_can_be_read_and_has_its_files_name(name: str) -> None:
    """So that a run's folder says which recipe it was."""
    assert read_recipe(name).name == name


@pytest.mark.parametrize("name", recipe_names())
def test_recipe_survives_the_manifest(name: str) -> None:
    """Through JSON and back it is the same recipe."""
    recipe = read_recipe(name)
    plain = json.loads(json.dumps(recipe.as_dict()))

    assert TypeAdapter(Recipe).validate_python(plain) == recipe


def test_every_setting_survives_the_manifest(tmp_path: Path) -> None:
    """Moments, nested rules and all."""
    text = """
    seed = 3
    [history]
    length = 9
    scope = "session"
    skip = {limit_ms = 5, end_share = 0.5}
    [split]
    valid_from = 2026-01-02T00:00:00Z
    test_from = 2026-01-03T00:00:00+01:00
    """
    recipe = read_recipe(written(tmp_path, text))

    assert recipe.history == HistoryRule(length=9, scope="session", skip=SkipRule(limit_ms=5, end_share=0.5))
    assert recipe.split.valid_from == datetime(2026, 1, 2, tzinfo=UTC)
    assert TypeAdapter(Recipe).validate_python(json.loads(json.dumps(recipe.as_dict()))) == recipe


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("sead = 1", "sead"),
        ("[networks]\nwidth = 8", "networks"),
        ("[network]\nwidht = 8", "network.widht"),
        ("[loss]\npairs = 0.5", "loss.pairs"),
        ("[fit]\nepoch = 1", "fit.epoch"),
        ("[history]\nlenght = 5", "history.lenght"),
        ("[history.skip]\nlimit = 5", "history.skip.limit"),
        ("[split]\ntest_form = 2026-01-01T00:00:00Z", "split.test_form"),
    ],
)
def test_unknown_key_is_an_error_that_names_it(tmp_path: Path, text: str, key: str) -> None:
    """A slip of the pen must not train the default in silence."""
    message = refusal(tmp_path, text)

    assert f"{key}: Unexpected keyword argument" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[network]\nwidth = 10\nheads = 4", "found width 10 and 4 heads"),
        ("[network]\ndropout = 1.5", "network.dropout: Input should be less than 1"),
        ("[network]\nwidth = 'wide'", "network.width"),
        ("[history]\nlength = 0", "found length 0"),
        ("[history]\nscope = 'week'", "history.scope"),
        ("[loss]\nfeedback = 0.1", "needs network.wanted_head"),
        ("[fit]\nselect = 'luck'", "fit.select"),
        ("[split]\nvalid_from = 2026-01-01T00:00:00Z", "wanted both or neither"),
        (
            "[split]\nvalid_from = 2026-01-02T00:00:00\ntest_from = 2026-01-03T00:00:00Z",
            "split.valid_from: Input should have timez",
        ),
        ("[split]\nvalid_from = 2026-01-03T00:00:00Z\ntest_from = 2026-01-03T00:00:00Z", "wanted the first before the second"),
    ],
)
def test_setting_that_cannot_be_followed_is_named(tmp_path: Path, text: str, words: str) -> None:
    """When the recipe is read, not in the middle of a run."""
    message = refusal(tmp_path, text)

    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden"])
def test_name_that_cannot_name_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    """Runs and artifacts are called after it."""
    path = tmp_path / "mine.toml"
    path.write_text(f"name = '{name}'")
    with pytest.raises(RecipeError, match="name: String should match"):
        read_recipe(str(path))


def test_text_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    """With the line."""
    assert "is no TOML" in refusal(tmp_path, "[network")


def test_recipe_nobody_knows_is_refused_with_those_that_are() -> None:
    """A newcomer sees what there is."""
    with pytest.raises(RecipeError, match=r"no recipe 'nextrack': neither a file nor one of .*nexttrack, sasrec"):
        read_recipe("nextrack")


def test_another_seed_changes_nothing_else() -> None:
    """Three seeds of one recipe are three runs of one thing."""
    recipe = read_recipe("sasrec")

    assert recipe.with_seed(7).as_dict() == {**recipe.as_dict(), "seed": 7}
