"""The command line: help for everybody, and errors as one sentence."""

import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from training.__main__ import main
from training.sources import SOURCES
from training.sources.canonical import COLUMNS

COMMANDS = (
    "import",
    "simulate",
    "describe",
    "train",
    "evaluate",
    "export",
    "run",
    "artifacts",
    "rollback",
    "compare",
    "backfill",
    "replay",
)


def help_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return the output of `--help`."""
    with pytest.raises(SystemExit) as stopped:
        main([*words, "--help"])
    assert stopped.value.code == 0
    return capsys.readouterr().out


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """A newcomer sees all commands."""
    text = help_of(capsys)

    assert all(re.search(rf"\n    {command}\s", text) for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_shows_an_example(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """Each help text has a line to copy, and every option with its default or meaning."""
    text = help_of(capsys, command)

    assert re.search(rf"\n  python -m training {command}\b", text)
    assert "usage: python -m training" in text


def test_help_loads_no_torch() -> None:
    """Torch takes seconds to load, and a person who asks for help is waiting."""
    program = (
        "import sys\n"
        "from training.__main__ import main\n"
        "try: main(['train', '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules or 'polars' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False, capture_output=True).returncode == 0


def test_module_runs_as_a_program() -> None:
    """`python -m training` without a command prints its usage and says that a command is missing."""
    ran = subprocess.run([sys.executable, "-m", "training"], check=False, capture_output=True, text=True)

    assert ran.returncode == 2
    assert "COMMAND" in ran.stderr


def sentence(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that fails, and return the error that it prints."""
    assert main(words) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    return printed.err


@pytest.mark.parametrize("command", ["train", "run", "replay"])
def test_log_that_is_not_there_is_said_in_a_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str) -> None:
    """The error says how to make one, and has no traceback."""
    assert "`python -m training import --help` says how" in sentence(capsys, command, str(tmp_path / "nowhere"))


@pytest.mark.parametrize("command", ["evaluate", "export"])
def test_run_that_is_not_there_is_said_in_a_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str) -> None:
    """The error says how to make one, as for a log."""
    assert "no run in" in sentence(capsys, command, str(tmp_path / "nowhere"))


@pytest.mark.parametrize("command", ["evaluate", "export"])
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "is damaged or of another version"),
        ("{}", "wanted the run's recipe, log, content and size"),
        ('{"log": "log", "content": "", "size": "", "recipe": {"name": "mine", "network": {"widht": 3}}}', "network.widht"),
    ],
)
def test_run_that_cannot_be_read_is_said_in_a_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str, text: str, wanted: str
) -> None:
    """The run has a truncated file, or the recipe of another version. The error names the fault, the file and what to do."""
    (tmp_path / "run.json").write_text(text)
    said = sentence(capsys, command, str(tmp_path))

    assert wanted in said
    assert "run.json" in said
    assert f"--run {tmp_path} --anew`" in said


def test_folder_that_cannot_be_written_is_said_in_a_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The error names the folder, which here would be inside a file."""
    (tmp_path / "file").write_text("")
    said = sentence(capsys, "simulate", "--out", str(tmp_path / "file" / "log"), "--listeners", "2", "--artists", "12")

    assert str(tmp_path / "file") in said
    assert "File exists" in said


def test_recipe_with_an_unknown_key_is_said_in_a_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The error names the key and the file."""
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\n[network]\nwidht = 3\n')
    said = sentence(capsys, "train", str(tmp_path), "--recipe", str(path))

    assert "network.widht" in said
    assert "mine.toml" in said


def test_column_without_a_name_is_said_in_a_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The error has an example of the expected form."""
    said = sentence(capsys, "import", "plays.csv", "--out", str(tmp_path / "log"), "--column", "song")

    assert "track_id=song" in said


def test_a_column_that_is_named_twice_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Both are named, because only the person knows which one is meant."""
    said = sentence(capsys, "import", "plays.csv", "--out", str(tmp_path), "--column", "at=a", "--column", "at=b")

    assert "found --column at=a and --column at=b; wanted one of the two" in said


@pytest.mark.parametrize("share", ["7", "-0.1", "1.01", "nan"])
def test_largest_share_of_broken_rows_is_a_share(share: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A person who means 7 % must not accept a log of broken rows."""
    with pytest.raises(SystemExit):
        main(["import", "plays.csv", "--out", "log", "--max-broken", share])

    assert f"found {share}; wanted a share from 0 to 1, such as 0.05 for 5 %" in capsys.readouterr().err


def test_brackets_in_a_message_reach_the_reader(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The terminal's own markup must not swallow a folder's name or fail on it."""
    assert "my [bold] log [/x]" in sentence(capsys, "train", str(tmp_path / "my [bold] log [" / "x]"))


def test_only_training_is_shared_among_processes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Several processes that each evaluate the same run would write over each other."""
    monkeypatch.setenv("WORLD_SIZE", "2")

    assert main(["evaluate", "nowhere"]) == 1
    assert "found evaluate under torchrun; wanted train" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["replay log --at-once 0", "backfill log --newest 0", "backfill log --opinions -1"])
def test_number_that_must_be_positive_is_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A replay of no listener at a time would compare nothing."""
    with pytest.raises(SystemExit):
        main(words.split())

    assert "wanted at least 1" in capsys.readouterr().err


def test_a_folders_name_is_printed_as_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A name may look like markup, for example for bold letters."""
    monkeypatch.setenv("COLUMNS", "1000")  # wide enough that the name is on one line
    log = tmp_path / "[b] [" / "b]"
    assert main(["simulate", "--out", str(log), "--listeners", "2", "--tracks", "20", "--artists", "12"]) == 0

    assert str(log) in capsys.readouterr().err.replace("\n", "")


def test_help_of_import_explains_sources_columns_rule_and_times(capsys: pytest.CaptureFixture[str]) -> None:
    """It has every source with its skips, every column, the skip rule, and the forms of times."""
    text = " ".join(help_of(capsys, "import").split())

    assert [name for name, source in SOURCES.items() if f"{name} {source.about}. Skips: {source.skips}." not in text] == []
    assert [name for name in COLUMNS if name not in text] == []
    assert "a play is a skip if under 30 s and under 90 % of the track were heard" in text
    assert "--timezone" in text
    assert "--column at=listened_at" in text


def test_import_takes_everything_from_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The log has column names of its own, times without a zone, dates with slashes, another encoding, one listener, and a
    catalogue.
    """
    (tmp_path / "plays.csv").write_bytes(
        "Lied;Zeit;ms\nCafé;31/1/2026 11:00;200000\nCafé;31/1/2026 11:05;900\n".encode("cp1252")
    )
    (tmp_path / "tracks.csv").write_bytes("id;Titel\nCafé;Für Elise\n".encode("cp1252"))
    words = f"import {tmp_path}/plays.csv --out {tmp_path}/log --column track_id=Lied --column at=Zeit --column played_ms=ms"
    words += f" --catalogue {tmp_path}/tracks.csv --catalogue-column track_id=id --catalogue-column title=Titel"
    words += " --user ann --timezone Europe/Berlin --dates day-first --encoding cp1252"

    assert main(words.split()) == 0
    events = pl.read_parquet(tmp_path / "log" / "events.parquet")
    assert events.select("user_id", "track_id", "at_ms", "type").rows() == [
        ("ann", "Café", 1_769_853_600_000, "complete"),
        ("ann", "Café", 1_769_853_900_000, "skip"),
    ]
    assert pl.read_parquet(tmp_path / "log" / "catalogue.parquet")["title"].to_list() == ["Für Elise"]
    printed = capsys.readouterr().err
    assert "2 plays in 1 session; 50.0% were skipped" in printed
    assert "1 track: 1 with a title, 0 with an artist" in printed


def test_import_that_is_stopped_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The message does not speak of epochs, because nothing was trained."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("training.commands.import_log", interrupted)

    assert main(["import", "plays.csv", "--out", "log"]) == 130
    assert capsys.readouterr().err == "stopped\n"
