"""Commands, options, settings, recipe keys, files and metrics that the documentation names exist."""

import io
import re
import tomllib
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import fields
from pathlib import Path

import polars as pl
import pytest
from pydantic import TypeAdapter, ValidationError

from service.observing.metrics import Metrics
from service.settings import PREFIX, Settings
from tests.docs.commands import WrongCommandError, check, check_setting, commands, make_targets, options_of
from tests.docs.pages import ROOT, Block, Page, page, page_names, pages
from training.__main__ import main
from training.__main__ import parser as training_parser
from training.recipe import Recipe, read_recipe, recipe_names
from training.sources import SOURCES

_COMMAND = re.compile(r"(\.venv/bin/)?python -m |make [a-z]|torchrun |docker compose |curl ")
_SECTIONS = {field.name for field in fields(Recipe)} - {"name", "seed"}
_KEY = re.compile(rf"({'|'.join(_SECTIONS)})(\.(?!json)\w+)+( = .+)?")
_RENAMED = {"--remember"}
"""Former names that CHANGELOG.md explains."""
_FILE = re.compile(r"(model|training|service|tests|docker|docs)/[\w./*-]+")


def documented_commands() -> list[tuple[str, str]]:
    """Return each command of a shell block or a code span, with its page."""
    listed: list[tuple[str, str]] = []
    for found in pages():
        for block in found.blocks:
            if block.language == "sh":
                listed += [(f"{found.name}:{block.line}", command) for command in commands(block.text)]
        listed += [(found.name, span) for span in found.spans if _COMMAND.match(span)]
    return listed


BLOCKS = [block for found in pages() for block in found.blocks]


@pytest.mark.parametrize(("place", "command"), documented_commands())
def test_command_would_work(place: str, command: str) -> None:
    """Programs, targets, options, recipes, settings and files are those that exist."""
    try:
        check(command)
    except WrongCommandError as error:
        pytest.fail(f"{place}: {command}\n{error}")


@pytest.mark.parametrize(
    "command",
    [
        "make nothing",
        "python -c 'print('",
        "make run PROT=9000",
        "python -m training learn logs/mine",
        "python -m training run logs/mine --recipy sasrec",
        "python -m training run logs/mine --rec sasrec",
        "python -m training export RUN --remember LOG",
        "python -m training run logs/mine --recipe sasrecs",
        "python -m training run logs/mine --recipe sasrec:fit.epoch=5",
        "python -m training import plays.csv --out logs/mine --source cvs",
        "python -m training import plays.csv --out logs/mine --column song=track_id",
        "python -m tests.load --quickly",
        "python -m service --port 9000",
        "NEXTTRACK_WORKER=4 python -m service",
        "NEXTTRACK_WORKERS=many python -m service",
        "torchrun --nproc-per-node 2 -m -- training trian logs/mine",
        "docker compose up --scale services=4",
        "docker stack deploy",
        "docker compose run --rm trainers sh",
        "docker compose run --rm trainer /venv/bin/python -m training roll VERSION",
        "export NEXTTRACK_KEYS=SECRET",
        "cp docker/no.sh .",
        "redis-ctl ping",
        "curl http://localhost:9000/v1/model",
    ],
)
def test_a_command_that_would_not_work_is_found(command: str) -> None:
    """Each part of the check can fail."""
    with pytest.raises(WrongCommandError):
        check(command)


def test_commands_of_a_block_are_told_apart() -> None:
    """A quote or a backslash at the end of a line continues a command. A comment is no command."""
    assert list(commands("# first\nmake run\ncurl -d '{\n}' x\nmake \\\n  test\n")) == [
        "make run",
        "curl -d '{\n}' x",
        "make \\\n  test",
    ]


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_code_block_says_its_language(block: Block) -> None:
    """Without a language a block would escape the checks; plain text (drawings, folders) is in blocks that say `text`."""
    assert block.language in ("sh", "json", "python", "toml", "text", "yaml", "ts", "html")


@pytest.mark.parametrize("found", pages(), ids=lambda found: found.name)
def test_options_in_code_spans_exist(found: Page) -> None:
    """An `--option` without a command belongs to one of our command lines."""
    helped = "".join(_helps())
    spans = [span.split()[0] for span in found.spans if re.match(r"--\w", span) and span not in _RENAMED]

    assert [span for span in spans if not re.search(rf"(?<![\w-]){span.partition('=')[0]}(?![\w-])", helped)] == []


def _helps() -> Iterator[str]:
    from tests.browser.screenshots import parser as screenshots
    from tests.load.__main__ import parser as load  # imported late, because the load tests import the service and ONNX
    from tests.load.catalogues import parser as catalogues
    from tests.load.keys import parser as keys
    from tests.load.overload import parser as overload
    from tests.load.peers.__main__ import parser as peers
    from tests.load.retrieval import parser as retrieval
    from tests.load.stages import parser as stages
    from tests.load.training import parser as training

    yield from (
        made().format_help() for made in (load, catalogues, keys, overload, peers, retrieval, screenshots, stages, training)
    )
    for name in re.findall(r"^    (\w+) ", training_parser().format_help(), re.MULTILINE):
        shown = io.StringIO()
        with redirect_stdout(shown), pytest.raises(SystemExit):
            training_parser().parse_args([name, "--help"])
        yield shown.getvalue()


@pytest.mark.parametrize("found", pages(), ids=lambda found: found.name)
def test_settings_exist(found: Page) -> None:
    """Each `NEXTTRACK_…` is a setting, and can have the value that is given with it."""
    for name in re.findall(rf"\b{PREFIX}[A-Z_]+\b", found.text):
        check_setting(name)
    for name, value in re.findall(rf"\b({PREFIX}[A-Z_]+)=([^\s`]+)", found.text):
        check_setting(name, value)


def test_defaults_in_the_table_of_settings_are_the_real_ones() -> None:
    """In docs/operate.md, a default in code equals the setting's. A default in words means that there is none."""
    rows = [row for table in page("docs/operate.md").tables if table[0][:2] == ["setting", "default"] for row in table[1:]]
    for names, defaults, *_ in rows:
        values = re.findall(r"`([^`]+)`", defaults) or [None] * len(re.findall("`", names))
        for name, value in zip(re.findall(r"`NEXTTRACK_(\w+)`", names), values, strict=False):
            default = Settings.model_fields[name.lower()].default
            given = default if value is None else getattr(Settings.model_validate({name.lower(): value}), name.lower())

            assert (name, given, value is None) == (name, default, default is None)
    assert rows


@pytest.mark.parametrize("found", pages(), ids=lambda found: found.name)
def test_recipe_keys_exist(found: Page) -> None:
    """`fit.refit` is a key of a recipe; `fit.refit = true` gives it a possible value."""
    if found.name == "CHANGELOG.md":
        return  # the changelog names renamed keys
    for span in found.spans:
        if _KEY.fullmatch(span):
            _check_key(span)


def _check_key(span: str) -> None:
    path, _, value = span.partition(" = ")
    *_, key = path.split(".")
    table: object = read_recipe("nexttrack").as_dict()
    for part in path.split("."):
        assert isinstance(table, dict), f"{span}: no such key"
        assert part in table, f"{span}: no such key"
        table = table[part]
    if value:
        assert key not in _wrong_keys(tomllib.loads(f"{path} = {value}")), f"{span}: no possible value"


def _wrong_keys(table: dict[str, object]) -> set[str | int]:
    """Return the keys whose values no recipe can have, whatever its other keys are."""
    try:
        TypeAdapter(Recipe).validate_python({"name": "x", **table})
    except ValidationError as error:
        return {part for fault in error.errors() for part in fault["loc"]}
    return set()


@pytest.mark.parametrize("span", ["fit.refits", "networks.width", 'network.width = "wide"', 'loss.targets = "all of them"'])
def test_a_recipe_key_that_does_not_exist_is_found(span: str) -> None:
    """The check can fail: a wrong key, a wrong section, a wrong type and a wrong choice."""
    with pytest.raises(AssertionError):
        _check_key(span)


@pytest.mark.parametrize("found", pages(), ids=lambda found: found.name)
def test_files_in_code_spans_exist(found: Page) -> None:
    """`model/events.py` and `training/recipes/*.toml` are in the checkout."""
    to_write = re.findall(r"\bWrite `([^`]+)`", found.text)  # files that CONTRIBUTING.md tells the reader to write
    named = [span for span in found.spans if _FILE.fullmatch(span) and span not in to_write]

    assert [span for span in named if not list(ROOT.glob(span.rstrip("/")))] == []


@pytest.mark.parametrize("found", pages(), ids=lambda found: found.name)
def test_metrics_exist(found: Page) -> None:
    """`nexttrack_requests_total` and other names are in the output of /metrics."""
    exposed = Metrics().exposition().decode()
    families = set(re.findall(r"^# TYPE (\S+)", exposed, re.MULTILINE))

    assert {span for span in found.spans if re.fullmatch(r"nexttrack_\w+", span)} <= families


def test_each_recipe_and_source_is_in_its_table() -> None:
    """docs/models.md has every recipe and docs/own-log.md every source, and they have no others."""
    recipes = [cell for table in page("docs/models.md").tables if table[0][0] == "recipe" for cell, *_ in table[1:]]
    sources = [cell for table in page("docs/own-log.md").tables if table[0][0] == "`--source`" for cell, *_ in table[1:]]

    assert sorted(re.findall(r"`([\w-]+)`", " ".join(recipes))) == sorted(recipe_names())
    assert sorted(re.findall(r"`([\w-]+)`", " ".join(sources))) == sorted(SOURCES)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "toml"], ids=str)
def test_toml_is_a_recipe_that_can_be_read(block: Block, tmp_path: Path) -> None:
    """A recipe of the reader's own extends an existing one and has only known keys."""
    path = tmp_path / "own.toml"
    path.write_text(block.text, "utf-8")

    assert read_recipe(str(path)).name


def test_imports_of_an_own_log_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands of docs/own-log.md that read plays.csv run on such a file, with the columns that they name."""
    monkeypatch.chdir(tmp_path)
    Path("tracks.csv").write_text("track_id,name,artist\n" + "".join(f"t{row},Song {row},Band\n" for row in range(7)), "utf-8")
    texts = [block.text for block in page("docs/own-log.md").blocks if block.language == "sh"]
    imports = [command for text in texts for command in commands(text) if " import plays.csv" in command]
    codes = []
    for command in imports:
        options = options_of(command.split()[3:], training_parser())
        names = dict(pair.split("=") for pair in options.column)
        zone = "" if options.timezone else "Z"
        frame = pl.DataFrame(
            {
                "user_id": [f"u{row % 3}" for row in range(60)],
                "track_id": [f"t{row % 7}" for row in range(60)],
                "at": [f"2026-01-01T00:{row:02}:00{zone}" for row in range(60)],
                "type": ["play"] * 60,
            }
        )
        constants = [name for name, value in (("user_id", options.user), ("type", options.type)) if value]
        frame.drop(constants).rename(names).write_csv("plays.csv")
        codes.append(main([*command.split()[3:], "--force"]))

    assert len(imports) > 3
    assert set(codes) == {0}


def test_every_make_target_is_documented() -> None:
    """Nobody would find a target that no page names."""
    texts = " ".join(found.text for found in pages())

    assert [target for target in make_targets() if target != "help" and not re.search(rf"\bmake {target}\b", texts)] == []


def test_options_are_parsed_by_the_real_parser() -> None:
    """The parser's values are compared, so a command is not only accepted."""
    assert options_of(["compare", "mei", "--log", "LOG", "--seeds", "2"], training_parser()).seeds == 2


def test_readme_is_a_front_page() -> None:
    """It has at most 1,800 words, a quality table of at most eight rows, a speed table of at most six, and a client of about 25
    lines.
    """
    readme = page("README.md")
    rows = {table[0][1] if table[0][0] == "" else table[0][0]: len(table) - 1 for table in readme.tables}
    [client] = [block for block in readme.blocks if block.language == "python"]

    assert len(readme.text.split()) <= 1_800
    assert rows["log"] <= 8
    assert rows["a second"] <= 6
    assert len(client.text.splitlines()) <= 30


@pytest.mark.parametrize("name", [name for name in page_names() if "measurements/" in name and "README" not in name])
def test_page_of_measurements_has_question_answer_command_and_date(name: str) -> None:
    """A figure without its command and date is worthless."""
    found = page(name)

    assert "**Question.**" in found.text
    assert "**Answer.**" in found.text
    assert re.search(r"\b\d{1,2}\s(November|December|January)\s202\d\b", found.text)
    assert any(_COMMAND.match(text) for text in (*found.spans, *(block.text for block in found.blocks)))
