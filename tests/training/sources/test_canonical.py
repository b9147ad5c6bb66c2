"""Logs in nexttrack's own columns, in each supported format."""

import bz2
import gzip
import json
import lzma
import sys
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from training.data.import_log import import_log
from training.data.log import SCHEMA, Log, LogError
from training.sources.canonical import ALL_PLAYS, BY_PLAYED
from training.sources.times import Clock

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

NOON_MS = 1_704_110_400_000  # 2024-01-01 12:00 UTC


def _import(path: Path | str, out: Path, **columns: str) -> Log:
    return import_log("canonical", [str(path)], out, columns=columns)


def _times(log: Log) -> list[int]:
    return log.events().collect()["at_ms"].to_list()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("at", "2024-01-01T12:00:00Z"),
        ("at", "2024-01-01T13:30:00.000+01:30"),
        ("at_s", "1704110400"),
        ("at_s", "1704110400.0"),
        ("at_ms", str(NOON_MS)),
    ],
)
def test_a_time_may_be_written_in_several_ways(tmp_path: Path, column: str, value: str) -> None:
    """RFC 3339 with its offset, Unix seconds and milliseconds are the same moment. The column's name says which."""
    (tmp_path / "log.csv").write_text(f"user_id,track_id,type,{column}\nu,t,play,{value}\n")

    assert _times(_import(tmp_path / "log.csv", tmp_path / "log")) == [NOON_MS]


def test_a_time_without_offset_wants_a_time_zone(tmp_path: Path) -> None:
    """The same noon is another moment in each zone. The error says how to give the zone."""
    (tmp_path / "log.csv").write_text("user_id,track_id,type,at\nu,t,play,2024-01-01T13:00:00\n")

    with pytest.raises(LogError, match=r"time without a zone \(wanted an offset as in RFC 3339.*--timezone Europe/Berlin"):
        _import(tmp_path / "log.csv", tmp_path / "log")
    log = import_log("canonical", [str(tmp_path / "log.csv")], tmp_path / "log", clock=Clock(zone="Europe/Berlin"))
    assert _times(log) == [NOON_MS]


@pytest.mark.parametrize("source", ["canonical", "listenbrainz"])
def test_one_time_without_offset_is_refused_where_an_option_reads_it(tmp_path: Path, source: str) -> None:
    """Among a thousand sound rows it would be lost. A source without the option counts it as broken and reads the rest."""
    times = ["2024-01-01T13:00:00Z"] * 1_000 + ["2024-01-01T13:00:00"]
    about = {"user_id": "u", "track_id": "t", "type": "play", "track_metadata": {"track_name": "t", "artist_name": "a"}}
    lines = (json.dumps({**about, "at": at, "listened_at": at}) for at in times)
    (tmp_path / "log.jsonl").write_text("".join(f"{line}\n" for line in lines))

    if source == "canonical":
        with pytest.raises(LogError, match=r"--timezone Europe/Berlin gives one\): .*line 1,001: user_id='u'"):
            _import(tmp_path / "log.jsonl", tmp_path / "log")
    else:
        rows = import_log(source, [str(tmp_path / "log.jsonl")], tmp_path / "log", user="u").about["rows"]
        assert (rows["read"], sum(rows["broken"].values())) == (1_001, 1)


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    """A log with its own names needs no rewriting. Columns that are not needed are ignored."""
    (tmp_path / "log.csv").write_text(f"who,song,what,when,weather\nu,t,play,{NOON_MS},rain\n")

    log = _import(tmp_path / "log.csv", tmp_path / "log", user_id="who", track_id="song", type="what", at_ms="when")

    assert log.events().select("user_id", "track_id", "type", "at_ms").collect().rows() == [("u", "t", "play", NOON_MS)]


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    """The error says which columns were expected and which were found."""
    (tmp_path / "log.csv").write_text("user_id,song,type,at_ms\nu,t,play,1\n")

    with pytest.raises(LogError, match="wanted columns track_id; found user_id, song, type, at_ms"):
        _import(tmp_path / "log.csv", tmp_path / "log")


def test_one_refusal_names_all_missing_columns(tmp_path: Path) -> None:
    """A person need not correct them one by one."""
    (tmp_path / "log.csv").write_text("who,song\nu,t\n")

    with pytest.raises(LogError, match="wanted columns user_id, track_id, one of at, at_s, at_ms; found who, song; "):
        _import(tmp_path / "log.csv", tmp_path / "log")


@pytest.mark.parametrize(
    ("header", "hint"),
    [
        (
            "listened_at,user,song_id,ms,duration_ms",
            "perhaps add --column at=listened_at --column user_id=user --column track_id=song_id --column played_ms=ms "
            "--column track_ms=duration_ms",
        ),
        ("user_id,Song,at_ms,type", "perhaps add --column track_id=Song"),
        ("who,song_id,at_ms", "perhaps add --column track_id=song_id, and --user NAME gives one listener to all rows"),
        ("who,what", "--column OURS=THEIRS reads one under another name, and --user NAME gives one listener to all rows"),
        ("user_id,user,at_ms", "--column OURS=THEIRS reads one under another name"),
    ],
)
def test_refusal_guesses_the_options(tmp_path: Path, header: str, hint: str) -> None:
    """As they are to be typed. What the file has under our name, or what looks like nothing of ours, is not guessed. --user is
    named only if no column looks like the listener.
    """
    (tmp_path / "log.csv").write_text(f"{header}\n1,2,3,4,5\n")

    with pytest.raises(LogError) as refused:
        _import(tmp_path / "log.csv", tmp_path / "log")
    assert str(refused.value).endswith(f"; {hint}")


def test_a_column_that_would_tell_skips_is_guessed(tmp_path: Path) -> None:
    """A log that is read as all plays although it says how long was listened."""
    (tmp_path / "log.csv").write_text(f"user_id,track_id,at_ms,ms,duration_ms\nu,t,{NOON_MS},5,9\n")

    _, told = _told(tmp_path / "log.csv", tmp_path / "log")

    assert f"{ALL_PLAYS}; or perhaps --column played_ms=ms --column track_ms=duration_ms" in " ".join(told.split())


def test_a_log_without_times_is_refused(tmp_path: Path) -> None:
    """Without times there is no order to learn from. The error names the three forms."""
    (tmp_path / "log.csv").write_text("user_id,track_id,type\nu,t,play\n")

    with pytest.raises(LogError, match="wanted columns one of at, at_s, at_ms; found user_id, track_id, type"):
        _import(tmp_path / "log.csv", tmp_path / "log")


def test_a_rename_to_a_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """`--column track_id=sogn` is a typing error, not a log without tracks."""
    (tmp_path / "log.csv").write_text("user_id,song,type,at_ms\nu,t,play,1\n")

    with pytest.raises(LogError, match="wanted columns sogn; found user_id, song"):
        _import(tmp_path / "log.csv", tmp_path / "log", track_id="sogn")


def test_an_unknown_column_of_ours_is_refused(tmp_path: Path) -> None:
    """The error for `--column track=song` names the right columns."""
    (tmp_path / "log.csv").write_text("user_id,song,type,at_ms\nu,t,play,1\n")

    with pytest.raises(LogError, match=r"--column track=….*track_id"):
        _import(tmp_path / "log.csv", tmp_path / "log", track="song")


def test_json_lines_are_read_whatever_their_types(tmp_path: Path) -> None:
    """Numbers or text, keys in any order, null or absent: the same event."""
    (tmp_path / "log.jsonl").write_text(
        f'{{"user_id": 7, "track_id": "t", "type": "skip", "at_ms": {NOON_MS}, "played_ms": 900, "asked": false}}\n'
        f'{{"type": "skip", "extra": {{"a": 1}}, "at_ms": "{NOON_MS}", "track_id": "s", "user_id": "7", "played_ms": null}}\n'
    )

    events = _import(tmp_path / "log.jsonl", tmp_path / "log").events().collect()

    assert events.select("user_id", "track_id", "at_ms", "played_ms", "asked").rows() == [
        ("7", "s", NOON_MS, None, True),
        ("7", "t", NOON_MS, 900, False),
    ]


def test_a_line_that_is_no_json_breaks_one_row(tmp_path: Path) -> None:
    """A line cut short by a crash does not cost the other lines of the file."""
    sound = [f'{{"user_id": "u", "track_id": "t{number}", "type": "play", "at_ms": {NOON_MS}}}' for number in range(199)]
    (tmp_path / "log.jsonl").write_text("\n".join([*sound[:90], sound[0][:20], *sound[90:]]) + "\n")

    log = _import(tmp_path / "log.jsonl", tmp_path / "log")

    assert log.about["rows"]["broken"] == {"a line that is no JSON": 1}
    assert (log.about["rows"]["in_files"], log.about["rows"]["kept"]) == (200, 199)


def test_a_folder_of_parquet_parts_is_one_log(tmp_path: Path) -> None:
    """Partitioned Parquet is read from its top folder. A column of datetimes needs no conversion."""
    for user in ("a", "b"):
        part = tmp_path / "parts" / f"day={user}"
        part.mkdir(parents=True)
        at = [datetime(2024, 1, 1, 12, tzinfo=UTC)]
        pl.DataFrame({"user_id": [user], "track_id": [5], "type": ["play"], "at": at}).write_parquet(part / "0.parquet")

    events = _import(tmp_path / "parts", tmp_path / "log").events().collect()

    assert events.select("user_id", "track_id", "at_ms").rows() == [("a", "5", NOON_MS), ("b", "5", NOON_MS)]


def test_a_glob_and_several_formats_make_one_log(tmp_path: Path) -> None:
    """Months in different formats are one log."""
    (tmp_path / "may 1.csv").write_text(f"user_id,track_id,type,at_ms\nu,csv,play,{NOON_MS}\n")
    (tmp_path / "may 2.jsonl").write_text(f'{{"user_id": "u", "track_id": "json", "type": "play", "at_ms": {NOON_MS}}}\n')

    log = import_log("canonical", [str(tmp_path / "*.csv"), str(tmp_path / "may 2.jsonl")], tmp_path / "log")

    assert log.events().collect()["track_id"].to_list() == ["csv", "json"]


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """The error is a sentence."""
    with pytest.raises(LogError, match="no such file or folder"):
        _import(tmp_path / "absent.csv", tmp_path / "log")


def test_a_file_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    """The ending decides how a file is read, and no other ending is guessed at."""
    (tmp_path / "log.xlsx").write_bytes(b"PK")

    with pytest.raises(LogError, match=r"log.xlsx: wanted a name that ends in"):
        _import(tmp_path / "log.xlsx", tmp_path / "log")


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    """The error is a sentence, without a traceback."""
    (tmp_path / "log.parquet").write_bytes(b"not at all")

    with pytest.raises(LogError, match=r"log.parquet cannot be read"):
        _import(tmp_path / "log.parquet", tmp_path / "log")


@pytest.mark.parametrize(
    ("form", "write"),
    [("csv", pl.DataFrame.write_csv), ("jsonl", pl.DataFrame.write_ndjson), ("parquet", pl.DataFrame.write_parquet)],
)
def test_titles_and_artists_make_a_catalogue(tmp_path: Path, form: str, write: Callable[..., object]) -> None:
    """A track's first row with a title or another value counts. An empty text is no title. Tracks that nobody heard have no
    row.
    """
    rows = [("t", "", ""), ("t", "Song", "Ann"), ("t", "Other", "Bob"), ("v", "", ""), ("w", None, "Ann"), (None, "Lost", "Cy")]
    frame = pl.DataFrame(rows, schema=["track_id", "name", "artist"], orient="row")
    frame = frame.with_columns(user_id=pl.lit("u"), type=pl.lit("play"), at_ms=NOON_MS + pl.int_range(pl.len()) * 60_000)
    path = tmp_path / f"log.{form}"
    write(frame, path)

    log = import_log("canonical", [str(path)], tmp_path / "log", columns={"title": "name"}, max_broken=0.5)

    catalogue = log.catalogue()
    assert catalogue is not None
    assert catalogue.rows() == [("t", "Song", "Ann", None, None, None), ("w", None, "Ann", None, None, None)]
    assert log.events().collect().columns == SCHEMA.names()


def test_a_log_without_titles_has_no_catalogue(tmp_path: Path) -> None:
    """Then the model cannot distinguish artists."""
    (tmp_path / "log.csv").write_text(f"user_id,track_id,type,at_ms\nu,t,play,{NOON_MS}\n")

    assert _import(tmp_path / "log.csv", tmp_path / "log").catalogue() is None


def _ids(folder: Path, form: str, frame: pl.DataFrame, max_broken: float = 0.0) -> list[str]:
    """Write a table in some format, import it, and return the log's track ids."""
    write = {"csv": pl.DataFrame.write_csv, "jsonl": pl.DataFrame.write_ndjson, "parquet": pl.DataFrame.write_parquet}
    path = folder / f"log.{form}"
    write[form](frame, path)  # type: ignore[operator] # writers of different files
    log = import_log("canonical", [str(path)], folder / "log", max_broken=max_broken, force=True)
    return log.events().collect().sort("at_ms")["track_id"].to_list()


@pytest.mark.parametrize(
    "ids",
    [
        [1, 2],
        [1.0, 2.0],
        ["1", "2"],
        ["1.0", "2.0"],
        [2.5, 3.0],
        [2**53 - 1, 1],
        [2**62 + 1, 1],
        ["007", "a b"],
        ['12" mix', "a,b"],
        ["ünï", "日本"],
    ],
)
def test_the_same_value_is_the_same_id_in_every_form(tmp_path: Path, ids: list[object]) -> None:
    """Whether a program writes whole numbers as floats or not, one track stays one track."""
    frame = pl.DataFrame({"track_id": ids}).with_columns(
        user_id=pl.lit("u"), type=pl.lit("play"), at_ms=NOON_MS + pl.int_range(pl.len())
    )
    found = [_ids(tmp_path, form, frame) for form in ("csv", "jsonl", "parquet")]

    assert found == [[f"{id:g}" if isinstance(id, float) else str(id).removesuffix(".0") for id in ids]] * 3


@pytest.mark.parametrize(
    "ids", [[1, None], [1.0, None], ["1", None], ["1", ""], ["1", "NaN"], ["1", "NULL"], [1.0, float("nan")]]
)
def test_a_missing_id_is_missing_in_every_form(tmp_path: Path, ids: list[object]) -> None:
    """Null, empty, NaN and the words for them are missing. A gap in a column does not change the other ids."""
    frame = pl.DataFrame({"track_id": ids}).with_columns(
        user_id=pl.lit("u"), type=pl.lit("play"), at_ms=NOON_MS + pl.int_range(pl.len())
    )

    assert [_ids(tmp_path, form, frame, max_broken=0.5) for form in ("csv", "jsonl", "parquet")] == [["1"]] * 3


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("form", ["csv", "jsonl", "json"])
def test_every_unicode_encoding_is_read_in_every_form(tmp_path: Path, encoding: str, form: str) -> None:
    """The text may have a byte order mark, or two bytes for each letter, as on Windows."""
    row = {"user_id": "u", "track_id": "Für Elise", "type": "play", "at_ms": NOON_MS}
    texts = {
        "csv": ",".join(row) + "\r\n" + ",".join(map(str, row.values())) + "\r\n",
        "jsonl": json.dumps(row, ensure_ascii=False) + "\n",
        "json": json.dumps([row], ensure_ascii=False),
    }
    (tmp_path / f"log.{form}").write_bytes(texts[form].encode(encoding))

    log = _import(tmp_path / f"log.{form}", tmp_path / "log")

    assert log.events().collect().select("user_id", "track_id").rows() == [("u", "Für Elise")]


def test_a_file_in_another_encoding_is_read_when_it_is_named(tmp_path: Path) -> None:
    """Without a name of the encoding, lines are broken, and the error says what to do. No replacement character gets into an
    id.
    """
    (tmp_path / "log.csv").write_bytes(
        f"user_id,track_id,type,at_ms\nu,Café,play,{NOON_MS}\nu,x,play,{NOON_MS}\n".encode("cp1252")
    )

    with pytest.raises(LogError, match=r"bytes that are not UTF-8 \(--encoding names another encoding"):
        _import(tmp_path / "log.csv", tmp_path / "log")
    log = import_log("canonical", [str(tmp_path / "log.csv")], tmp_path / "log", encoding="cp1252")
    assert log.events().collect()["track_id"].to_list() == ["Café", "x"]


@pytest.mark.parametrize("form", ["csv.gz", "csv.zst", "csv.xz", "csv.bz2", "zip"])
def test_compressed_logs_are_read(tmp_path: Path, form: str) -> None:
    """So are archives, whose other files are listed."""
    text = f"user_id,track_id,type,at_ms\nu,t,play,{NOON_MS}\n".encode()
    packers: dict[str, Callable[[bytes], bytes]] = {
        "csv.gz": gzip.compress,
        "csv.zst": zstd.compress,
        "csv.xz": lzma.compress,
        "csv.bz2": bz2.compress,
    }
    path = tmp_path / f"log.{form}"
    if form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("may/log.csv", text)
            archive.writestr("may/notes.txt", "")
    else:
        path.write_bytes(packers[form](text))

    log = _import(path, tmp_path / "log")

    assert log.about["events"] == 1
    assert len(log.about["ignored"]) == (form == "zip")


def test_empty_parts_are_listed(tmp_path: Path) -> None:
    """A job that had nothing to write leaves such files."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "0.csv").write_text("")
    (tmp_path / "parts" / "1.csv").write_text(f"user_id,track_id,type,at_ms\nu,t,play,{NOON_MS}\n")

    assert _import(tmp_path / "parts", tmp_path / "log").about["ignored"] == [f"{tmp_path}/parts/0.csv is empty"]


@pytest.mark.parametrize("text", ["user_id,track_id\nu,t\n", "{'user_id': 'u'}\n", "[[1, 2]]"])
def test_a_file_without_any_object_says_so(tmp_path: Path, text: str) -> None:
    """An error about missing columns would be misleading."""
    (tmp_path / "log.jsonl").write_text(text)

    with pytest.raises(LogError, match=r"rows are broken, none is left\. an? (line|element) that is no JSON"):
        _import(tmp_path / "log.jsonl", tmp_path / "log")


def test_a_key_that_is_half_a_character_can_be_shown(tmp_path: Path) -> None:
    """The error can be printed."""
    (tmp_path / "log.jsonl").write_text('{"\\ud800": 1}\n')

    with pytest.raises(LogError, match=r"found \\ud800; "):
        _import(tmp_path / "log.jsonl", tmp_path / "log")


def test_a_key_that_only_later_lines_have_is_read(tmp_path: Path) -> None:
    """In JSON Lines, any line can bring another column."""
    rows = [{"user_id": "u", "track_id": f"t{n}", "type": "skip", "at_ms": NOON_MS + n} for n in range(2)]
    (tmp_path / "log.jsonl").write_text(json.dumps(rows[0]) + "\n" + json.dumps({**rows[1], "played_ms": 900}) + "\n")

    assert _import(tmp_path / "log.jsonl", tmp_path / "log").events().collect()["played_ms"].to_list() == [None, 900]


def _told(path: Path, out: Path, **options: str) -> tuple[Log, str]:
    """Import a file. Returns the log, and the printed output."""
    console = Console(file=StringIO(), width=300)
    log = import_log("canonical", [str(path)], out, console=console, **options)  # type: ignore[arg-type] # of several types
    assert isinstance(console.file, StringIO)
    return log, console.file.getvalue()


def test_a_log_without_types_is_read_by_what_was_heard(tmp_path: Path) -> None:
    """A row is a whole play: a skip if under 30 seconds and under nine tenths were heard. If nothing is known, it was heard."""
    plays = [(29_999, None), (30_000, None), (5_000, 5_100), (5_000, 60_000), (None, None), ("long", None)]
    rows = "".join(f"u,t{n},{NOON_MS + n},{'' if p is None else p},{k or ''}\n" for n, (p, k) in enumerate(plays))
    (tmp_path / "log.csv").write_text("user_id,track_id,at_ms,played_ms,track_ms\n" + rows)
    console = Console(file=StringIO(), width=300)

    log = import_log("canonical", [str(tmp_path / "log.csv")], tmp_path / "log", max_broken=0.5, console=console)

    assert log.events().collect()["type"].to_list() == ["skip", "complete", "complete", "skip", "complete"]
    assert log.about["rows"]["broken"] == {"unreadable played_ms": 1}
    assert log.about["notes"] == [BY_PLAYED]
    assert isinstance(console.file, StringIO)
    assert BY_PLAYED in console.file.getvalue()


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_log_without_types_and_times_heard_is_all_plays(tmp_path: Path, form: str) -> None:
    """The importer says so, and warns that there are no skips."""
    texts = {
        "csv": f"user_id,track_id,at_ms\nu,t,{NOON_MS}\n",
        "jsonl": f'{{"user_id": "u", "track_id": "t", "at_ms": {NOON_MS}}}\n',
    }
    (tmp_path / f"log.{form}").write_text(texts[form])

    log, told = _told(tmp_path / f"log.{form}", tmp_path / "log")

    assert log.events().collect()["type"].to_list() == ["play"]
    assert ALL_PLAYS in told
    assert "warning: no skips at all: is a column missing?" in told


def test_constants_stand_for_columns(tmp_path: Path) -> None:
    """One person's log need not name the person, and a log of whole plays need not name the type."""
    (tmp_path / "log.csv").write_text(f"track_id,at_ms\nt,{NOON_MS}\n")

    log, _ = _told(tmp_path / "log.csv", tmp_path / "log", user="ann", type="complete")

    assert log.events().collect().select("user_id", "type").rows() == [("ann", "complete")]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"user": "ann"}, "found a column user_id and --user ann; wanted one of the two"),
        ({"type": "play"}, "found a column type and --type play; wanted one of the two"),
        ({"type": "heard"}, "--type heard: no such type; the types are play, skip, complete"),
        ({"query": "SELECT 1"}, "source canonical has no use for --query; it goes with sql only"),
    ],
)
def test_options_that_contradict_the_log_are_refused(tmp_path: Path, options: dict[str, str], words: str) -> None:
    """If a constant replaced a column, all listeners would become one."""
    (tmp_path / "log.csv").write_text(f"user_id,track_id,type,at_ms\nu,t,play,{NOON_MS}\n")

    with pytest.raises(LogError, match=words):
        _told(tmp_path / "log.csv", tmp_path / "log", **options)


def test_a_catalogue_beside_the_log_names_its_tracks(tmp_path: Path) -> None:
    """It has titles, artists, albums, groups, and durations in seconds or milliseconds. Tracks that nobody has heard are kept:
    a model can propose them by their artist.
    """
    (tmp_path / "log.csv").write_text(f"user_id,track_id,type,at_ms,title\nu,7,play,{NOON_MS},Old\nu,8,play,{NOON_MS},Kept\n")
    (tmp_path / "tracks.tsv").write_text(
        "id\tname\tartist\talbum\tgroup\tduration_s\n"
        '7.0\t"Heroes"\tBowie\tHeroes\tg1\t215.5\n\n7\tAgain\t\t\t\t\n9\tUnheard\tX\t\t\t1\n\tNameless\tX\t\t\t1\n'
    )
    console = Console(file=StringIO(), width=300)

    log = import_log(
        "canonical",
        [str(tmp_path / "log.csv")],
        tmp_path / "log",
        catalogue=str(tmp_path / "tracks.tsv"),
        catalogue_columns={"track_id": "id", "title": "name"},
        max_broken=0.3,
        console=console,
    )

    catalogue = log.catalogue()
    assert catalogue is not None
    assert catalogue.rows() == [
        ("7", "Heroes", "Bowie", "Heroes", "g1", 215_500),
        ("8", "Kept", None, None, None, None),
        ("9", "Unheard", "X", None, None, 1_000),
    ]
    assert isinstance(console.file, StringIO)
    assert "2 tracks: 2 with a title, 1 with an artist" in console.file.getvalue()


@pytest.mark.parametrize(
    ("text", "columns", "words"),
    [
        (
            "id,title\n7,x\n",
            {},
            "tracks.csv: wanted columns track_id; found id, title; perhaps add --catalogue-column track_id=id",
        ),
        ("id,name\n7,x\n", {}, "perhaps add --catalogue-column track_id=id --catalogue-column title=name"),
        ("key,title\n7,x\n", {}, "found key, title; --catalogue-column OURS=THEIRS"),
        ("track_id\n7\n", {}, "tracks.csv: wanted columns one of title, artist, album"),
        ("track_id,title\n7,x\n", {"titel": "title"}, "--catalogue-column titel=…: no such column; the columns are track_id"),
        ("track_id,title\n7,x\n", {"artist": "band"}, "tracks.csv: wanted columns artist; found track_id, title"),
        ("track_id,title\n,x\n", {}, "the catalogue has no rows with a track_id"),
        ("track_id,title\n7,x\n,y\n", {}, "tracks.csv: 1 of 2 rows have no track_id or are broken"),
        ("", {}, "the catalogue has no rows with a track_id"),
    ],
)
def test_a_catalogue_that_cannot_be_used_is_refused(tmp_path: Path, text: str, columns: dict[str, str], words: str) -> None:
    """It is checked by the same rules as the log."""
    (tmp_path / "log.csv").write_text(f"user_id,track_id,type,at_ms\nu,7,play,{NOON_MS}\n")
    (tmp_path / "tracks.csv").write_text(text)

    with pytest.raises(LogError, match=words):
        import_log(
            "canonical",
            [str(tmp_path / "log.csv")],
            tmp_path / "log",
            catalogue=str(tmp_path / "tracks.csv"),
            catalogue_columns=columns,
        )


def test_one_error_names_what_log_and_catalogue_lack(tmp_path: Path) -> None:
    """Nobody has to mend one file to hear of the other. Each line names a file, its columns and the options to type."""
    (tmp_path / "log.csv").write_text("user,song_id,at\nu,7,1769853600\n")
    (tmp_path / "tracks.csv").write_text("id,name\n7,x\n")

    with pytest.raises(LogError) as refused:
        import_log("canonical", [str(tmp_path / "log.csv")], tmp_path / "log", catalogue=str(tmp_path / "tracks.csv"))
    of_log, of_catalogue = str(refused.value).splitlines()

    assert of_log.endswith(
        "log.csv: wanted columns user_id, track_id; found user, song_id, at; "
        "perhaps add --column user_id=user --column track_id=song_id"
    )
    assert of_catalogue.endswith(
        "tracks.csv: wanted columns track_id; found id, name; "
        "perhaps add --catalogue-column track_id=id --catalogue-column title=name"
    )


def test_a_catalogue_of_durations_alone_says_what_it_lacks(tmp_path: Path) -> None:
    """A log with a column duration_ms has a catalogue, in which no listener would find a title."""
    console = Console(file=StringIO(), width=200)
    (tmp_path / "log.csv").write_text("user_id,track_id,type,at_ms,duration_ms\nu,7,play,1769853600000,1000\n")
    (tmp_path / "tracks.csv").write_text("track_id,title\n7,x\n")
    import_log("canonical", [str(tmp_path / "log.csv")], tmp_path / "a", console=console)
    import_log(
        "canonical", [str(tmp_path / "log.csv")], tmp_path / "b", catalogue=str(tmp_path / "tracks.csv"), console=console
    )

    assert isinstance(console.file, StringIO)
    assert [line for line in console.file.getvalue().splitlines() if line.startswith("1 track:")] == [
        "1 track: 0 with a title, 0 with an artist (--catalogue FILE adds them)",
        "1 track: 1 with a title, 0 with an artist",
    ]


def test_a_catalogue_with_other_ids_is_doubted(tmp_path: Path) -> None:
    """The log's own durations make a catalogue, so only the count of titles and the warning tell that the ids differ."""
    console = Console(file=StringIO(), width=200)
    (tmp_path / "log.csv").write_text("user_id,track_id,type,at_ms,duration_ms\nu,7,play,1769853600000,1000\n")
    (tmp_path / "tracks.csv").write_text("track_id,title\nsong-7,x\n")
    beside = str(tmp_path / "tracks.csv")
    log = import_log("canonical", [str(tmp_path / "log.csv")], tmp_path / "a", catalogue=beside, console=console)

    assert isinstance(console.file, StringIO)
    assert "1 track: 0 with a title, 0 with an artist" in console.file.getvalue()
    assert f"warning: {beside} has none of the log's tracks: are its ids those of track_id?" in console.file.getvalue()
    assert log.about["warnings"][-1].startswith(beside)


def test_a_wrong_catalogue_is_noticed_before_the_log_is_read(tmp_path: Path) -> None:
    """Reading a large log takes minutes. All rows of the log are broken here, and the error is that of the catalogue."""
    (tmp_path / "log.csv").write_text("user_id,track_id,at\nu,7,yesterday\n")
    (tmp_path / "tracks.csv").write_text("key,title\n7,x\n")

    with pytest.raises(LogError, match=r"^[^\n]*tracks.csv: wanted columns track_id; found key, title[^\n]*$"):
        import_log("canonical", [str(tmp_path / "log.csv")], tmp_path / "log", catalogue=str(tmp_path / "tracks.csv"))
