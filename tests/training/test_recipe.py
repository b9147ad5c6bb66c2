"""Recipes that ship can be read. A recipe that cannot be used is refused in one sentence that names the key."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from model.events import HistoryRule, SkipRule
from training.recipe import Recipe, RecipeError, read_recipe, recipe_names


def written(tmp_path: Path, text: str) -> str:
    """Write a recipe's file and return its path."""
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\n' + text)
    return str(path)


def refusal(tmp_path: Path, text: str) -> str:
    """Return the text with which a recipe is refused."""
    with pytest.raises(RecipeError) as caught:
        read_recipe(written(tmp_path, text))
    return str(caught.value)


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipe_can_be_read_and_has_its_files_name(name: str) -> None:
    """A run's folder is named after the recipe."""
    assert read_recipe(name).name == name


@pytest.mark.parametrize("name", recipe_names())
def test_recipe_survives_the_manifest(name: str) -> None:
    """After conversion to JSON and back it is the same recipe."""
    recipe = read_recipe(name)
    plain = json.loads(json.dumps(recipe.as_dict()))

    assert TypeAdapter(Recipe).validate_python(plain) == recipe


def test_every_setting_survives_the_manifest(tmp_path: Path) -> None:
    """It includes moments and nested rules."""
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
        ("sead = 1", "sead: there is no such key; perhaps seed"),
        ("epochs = 1", "epochs: there is no such key; perhaps fit.epochs"),
        ("length = 1", "length: there is no such key; perhaps history.length or copy_head.length"),
        ("[networks]\nwidth = 8", "networks: there is no such key; perhaps network"),
        ("[network]\nwidht = 8", "network.widht: there is no such key; perhaps network.width"),
        ("[loss]\npairs = 0.5", "loss.pairs: there is no such key; perhaps loss.pair"),
        ("[fit]\nepoch = 1", "fit.epoch: there is no such key; perhaps fit.epochs"),
        ("[history]\nlenght = 5", "history.lenght: there is no such key; perhaps history.length"),
        ("[history.skip]\nlimit = 5", "history.skip.limit: there is no such key; perhaps history.skip.limit_ms"),
        ("[split]\ntest_form = 2026-01-01T00:00:00Z", "split.test_form: there is no such key; perhaps split.test_from"),
        ("xyzzy = 1", "xyzzy: there is no such key"),
    ],
)
def test_unknown_key_is_an_error_that_names_it(tmp_path: Path, text: str, key: str) -> None:
    """A typing error must not silently train with the default. The error names the key that was perhaps meant."""
    message = refusal(tmp_path, text)

    assert message.endswith(key)
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
        ("[fit]\ndecay = 0.0", "fit.decay"),
        ("[calibration]\nwanted = [0.0, 0.5]", "need network.wanted_head"),
        ("[calibration]\ntheta = [1.0]", "calibration.theta"),
        ("[network]\nkind = 'sine'\n[calibration]\ntheta = [0.3]", "takes no prior"),
        ("[network]\nkind = 'sine'\ngaps = true", "found gaps or wanted_head with kind 'sine'"),
        ("[network]\nkind = 'sine'\nskips = false", "found outcomes or skips off with kind 'sine'"),
        ("[network]\nkind = 'sine'\noutcomes = false", "found outcomes or skips off with kind 'sine'"),
        ("[network]\nkind = 'sine'", "found loss.main 'auto' and loss.contrast 0 with network.kind 'sine'"),
        ("[network]\nkind = 'sine'\n[loss]\nmain = 'sampled'", "wanted 'bpr' or 'bce', and no contrast"),
        ("[network]\nkind = 'sine'\n[loss]\nmain = 'bpr'\ncontrast = 0.5", "wanted 'bpr' or 'bce', and no contrast"),
        ("[network]\nrepeats = false\n[loss]\nsmoothing = 0.1", "smooth labels over tracks that are left out"),
        ("[network]\noutcome_scaling = true\noutcomes = false", "found outcome_scaling with kind 'sine' or without outcomes"),
        (
            "[network]\nkind = 'cloze'\npositions = 'distance'",
            "found positions 'distance' or artist_transition with another kind",
        ),
        (
            "[network]\nskips = false\nartist_transition = 8",
            "found positions 'distance' or artist_transition with another kind",
        ),
        ("[loss]\nmain = 'full'\n[fit]\ntables = 'sparse'", "whose gradient reaches every row"),
        ("[split]\nvalid_from = 2026-01-01T00:00:00Z", "wanted both or neither"),
        (
            "[split]\nvalid_from = 2026-01-02T00:00:00\ntest_from = 2026-01-03T00:00:00Z",
            "split.valid_from: Input should have timez",
        ),
        ("[split]\nvalid_from = 2026-01-03T00:00:00Z\ntest_from = 2026-01-03T00:00:00Z", "wanted the first before the second"),
    ],
)
def test_setting_that_cannot_be_followed_is_named(tmp_path: Path, text: str, words: str) -> None:
    """The error comes when the recipe is read, not in the middle of a run."""
    message = refusal(tmp_path, text)

    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden"])
def test_name_that_cannot_name_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    """Runs and artifacts are named after the recipe."""
    path = tmp_path / "mine.toml"
    path.write_text(f"name = '{name}'")
    with pytest.raises(RecipeError, match="name: String should match"):
        read_recipe(str(path))


def test_text_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    """The error names the line."""
    assert "found text that is no TOML" in refusal(tmp_path, "[network")


def test_recipe_nobody_knows_is_refused_with_those_that_are() -> None:
    """The error lists nexttrack's own recipes."""
    with pytest.raises(
        RecipeError, match=r"no recipe 'nextrack': there is no such file, and nexttrack's own are .*nexttrack, .*sasrec"
    ):
        read_recipe("nextrack")


def test_another_seed_changes_nothing_else() -> None:
    """Three seeds of one recipe are three runs of the same recipe."""
    recipe = read_recipe("sasrec")

    assert recipe.with_seed(7).as_dict() == {**recipe.as_dict(), "seed": 7}


def test_extension_changes_what_it_says_and_keeps_the_rest(tmp_path: Path) -> None:
    """Nested tables are merged, too. The extension has its own name."""
    (tmp_path / "base.toml").write_text('name = "base"\n[history]\nlength = 9\nskip = {limit_ms = 5}\n[fit]\nepochs = 3')
    path = written(tmp_path, f'extends = "{tmp_path / "base.toml"}"\n[fit]\nbatch = 8\n[history.skip]\nend_share = 0.5')
    recipe = read_recipe(path)

    assert (recipe.name, recipe.fit.epochs, recipe.fit.batch) == ("mine", 3, 8)
    assert recipe.history == HistoryRule(length=9, skip=SkipRule(limit_ms=5, end_share=0.5))


def test_extension_needs_a_name_of_its_own(tmp_path: Path) -> None:
    """Otherwise its runs would be mixed with the runs of the recipe that it extends."""
    path = tmp_path / "mine.toml"
    path.write_text('extends = "sasrec"')
    with pytest.raises(RecipeError, match="name: Field required"):
        read_recipe(str(path))


def test_recipes_that_extend_each_other_are_refused(tmp_path: Path) -> None:
    """Without this check they would be read for ever."""
    path = tmp_path / "mine.toml"
    assert "extend each other" in refusal(tmp_path, f'extends = "{path}"')


def test_unknown_key_beside_an_extension_is_an_error(tmp_path: Path) -> None:
    """Both tables are checked as one recipe."""
    assert "loss.pairs: there is no such key; perhaps loss.pair" in refusal(tmp_path, 'extends = "sasrec"\n[loss]\npairs = 1')


@pytest.mark.parametrize("select", ['"ndcg@10"', "ndcg@10"])
def test_recipe_can_be_changed_where_it_is_named(select: str) -> None:
    """The change becomes part of the name, so runs of a sweep stay apart. A shell may have removed the quotes."""
    recipe = read_recipe(f"mei-random:loss.negatives=4,fit.select={select},fit.average=true")

    assert recipe.name == "mei-random negatives=4,select=ndcg10,average=true"
    assert (recipe.loss.negatives, recipe.fit.select, recipe.fit.average) == (4, "ndcg@10", True)
    assert recipe.network == read_recipe("mei-random").network


def test_a_list_can_be_given_where_a_recipe_is_named() -> None:
    """A comma inside brackets or quotes does not separate changes."""
    skip = "history.skip={limit_ms=5,end_share=0.5}"
    recipe = read_recipe(f"nexttrack:calibration.theta=[0.0,0.2],session_memory.weights=[],fit.select=auc,{skip}")

    assert recipe.name == "nexttrack theta=0.0,0.2,weights=,select=auc,skip=limit_ms=5,end_share=0.5"
    assert (recipe.calibration.theta, recipe.session_memory.weights, recipe.fit.select) == ((0.0, 0.2), (), "auc")
    assert recipe.history.skip == SkipRule(limit_ms=5, end_share=0.5)
    assert read_recipe("nexttrack:split.valid=0.02,name='a, b'").name == "a, b valid=0.02,name=a, b"


@pytest.mark.parametrize("changes", ["loss.negative=4", "loss=4", "4", "calibration.theta=[0.0,0.2"])
def test_change_that_cannot_be_made_is_refused(changes: str) -> None:
    """The error names the recipe as it was given."""
    with pytest.raises(RecipeError, match=re.escape(f"mei-random:{changes}")):
        read_recipe(f"mei-random:{changes}")


def test_start_that_the_network_cannot_make_is_refused() -> None:
    """Sub-interests are not track embeddings. The error comes when the recipe is read, not when training starts."""
    with pytest.raises(RecipeError, match="cooccurrence"):
        read_recipe('sine:fit.start="cooccurrence"')


def test_ablation_goes_step_by_step_from_the_blind_one() -> None:
    """All steps have the same sizes and training loop. They differ only as their names say."""
    steps = [read_recipe(name) for name in ("sasrec", "positives", "marked", "skip-targets", "both", "contrastive")]

    assert len({step.fit for step in steps}) == 1
    assert [(s.network.outcomes, s.network.skips) for s in steps] == [
        (False, True),
        (False, False),
        (True, True),
        (False, False),
        (True, True),
        (True, True),
    ]
    assert [s.loss.targets for s in steps] == ["all", "kept", "wanted", "kept", "wanted", "wanted"]
    assert [(s.loss.pair > 0, s.loss.contrast > 0) for s in steps] == [
        (False, False),
        (False, False),
        (False, False),
        (True, False),
        (True, False),
        (True, True),
    ]


def test_keys_of_the_last_version_work_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "old.toml"
    path.write_text(
        'name = "old"\n[network]\ngains = true\necho = 8\nwanted_head = true\n[weigh]\nwanted = [0.5]\n[memory]\nrecent = 7\n'
    )

    with pytest.warns(FutureWarning) as warned:
        recipe = read_recipe(f"{path}:memory.recent=9")

    assert recipe.network.outcome_scaling
    assert recipe.network.artist_transition == 8
    assert recipe.calibration.wanted == (0.5,)
    assert recipe.session_memory.recent == 9
    assert any("the key network.echo is called network.artist_transition now" in str(one.message) for one in warned)
