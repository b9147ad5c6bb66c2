"""Readers of public data sets, with invented rows in the documented form."""

from pathlib import Path

import polars as pl
import pytest

from model.events import HistoryRule, Outcome
from training.data.import_log import import_log
from training.data.log import LogError
from training.data.sequences import build
from training.sources.kuairand import EVENTS_FROM_MS
from training.sources.yambda import FROM_MS as YAMBDA_MS
from training.sources.yambda import TAKEN_BACK

HOUR_MS = 3_600_000


def _kuairand(folder: Path) -> Path:
    folder.mkdir()
    zeros = {"is_like": [0, 1, 0], "is_hate": [0, 0, 1], "play_time_ms": [0, 0, 0]}
    pl.DataFrame(
        {
            "user_id": [1, 1, 1],
            "video_id": [10, 11, 12],
            "time_ms": [EVENTS_FROM_MS + HOUR_MS * hour for hour in (1, 2, 3)],
            "tab": [1, 1, 0],
            "long_view": [0, 1, 0],
            **zeros,
        }
    ).write_parquet(folder / "events.parquet")
    pl.DataFrame({"user_id": [1, 1, 1], "pos": [8, 7, 6], "video_id": [10, 10, 10], "long_view": [1, 0, 0]}).write_parquet(
        folder / "history.parquet"
    )
    return folder


def test_kuairand_gives_one_entry_a_row(tmp_path: Path) -> None:
    """Each shown video is one entry, in order, with its opinions. The same video later is a new entry."""
    log = import_log("kuairand", [str(_kuairand(tmp_path / "data"))], tmp_path / "log")

    sequences = build(log, HistoryRule())

    assert [sequences.tracks[track] for track in sequences.track] == ["10", "10", "10", "10", "11", "12"]
    assert sequences.outcome.tolist() == [
        Outcome.SKIPPED,
        Outcome.SKIPPED,
        Outcome.PLAYED,
        Outcome.SKIPPED,
        Outcome.LIKED,
        Outcome.DISLIKED,
    ]


def test_kuairand_asks_only_where_passing_over_is_a_skip(tmp_path: Path) -> None:
    """The model reads history and other tabs, but only events of the feed are cases."""
    log = import_log("kuairand", [str(_kuairand(tmp_path / "data"))], tmp_path / "log")

    assert build(log, HistoryRule()).asked.tolist() == [False, False, False, True, True, False]


def test_kuairand_history_lies_before_all_events(tmp_path: Path) -> None:
    """The invented times keep the history's order, a minute apart, before every real time."""
    log = import_log("kuairand", [str(_kuairand(tmp_path / "data"))], tmp_path / "log")

    times = log.events().filter(~pl.col("asked")).collect()["at_ms"].to_list()[:3]

    assert times == [EVENTS_FROM_MS - 60_000 * minutes for minutes in (3, 2, 1)]


def test_kuairand_wants_its_folder(tmp_path: Path) -> None:
    """The error says which files were expected."""
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "other.parquet")

    with pytest.raises(LogError, match=r"wanted one folder with an events.parquet"):
        import_log("kuairand", [str(tmp_path)], tmp_path / "log")
    (tmp_path / "empty").mkdir()
    with pytest.raises(LogError, match=r"empty: wanted a name that ends in .parquet; found no file"):
        import_log("kuairand", [str(tmp_path / "empty")], tmp_path / "log")


def test_kuairand_counts_rows_and_opinions(tmp_path: Path) -> None:
    """A like adds an event but no row, so the rows add up to the files' rows. Other files are listed."""
    folder = _kuairand(tmp_path / "data")
    (folder / "README.md").write_text("")

    about = import_log("kuairand", [str(folder)], tmp_path / "log").about

    assert about["rows"] == {"in_files": 6, "passed_over": {}, "read": 6, "broken": {}, "duplicates": 0, "added": 2, "kept": 8}
    assert about["ignored"] == [f"{folder}/README.md does not end in .parquet"]


@pytest.mark.parametrize("missing", ["user_id", "time_ms"])
def test_kuairand_counts_rows_without_a_value(tmp_path: Path, missing: str) -> None:
    """A null is neither a listener nor a time. The rows around it are read."""
    folder = _kuairand(tmp_path / "data")
    events = pl.read_parquet(folder / "events.parquet")
    events.with_columns(pl.when(pl.int_range(3) == 1).then(None).otherwise(missing).alias(missing)).write_parquet(
        folder / "events.parquet"
    )

    about = import_log("kuairand", [str(folder)], tmp_path / "log", max_broken=0.2).about

    assert about["rows"]["broken"] == {"missing user_id" if missing == "user_id" else "missing time": 1}
    assert (about["rows"]["in_files"], about["rows"]["read"], about["rows"]["kept"]) == (6, 6, 6)


def test_nowplaying_keeps_its_published_split(tmp_path: Path) -> None:
    """Each file is a part, each session is a listener, and seconds become milliseconds."""
    for number, part in enumerate(("train", "valid", "test")):
        (tmp_path / f"{part}.csv").write_text(f"session_id\titem_id\ttimestamp\n{number}\t34\t170000000{number}\n")

    events = import_log("nowplaying", [str(tmp_path)], tmp_path / "log").events().collect()

    assert events.select("user_id", "session_id", "track_id", "at_ms", "type", "part").rows() == [
        ("0", "0", "34", 1_700_000_000_000, "play", "train"),
        ("1", "1", "34", 1_700_000_001_000, "play", "valid"),
        ("2", "2", "34", 1_700_000_002_000, "play", "test"),
    ]


def test_nowplaying_keeps_the_order_of_one_second_and_asks_from_the_second_track_on(tmp_path: Path) -> None:
    """Three tweets of one second, one track twice in a row, all stay in the file's order. The first is context only."""
    for part, session in (("train", 1), ("valid", 2), ("test", 3)):
        lines = "".join(f"{session}\t{item}\t1700000000\n" for item in (9, 5, 5))
        (tmp_path / f"{part}.csv").write_text(f"session_id\titem_id\ttimestamp\n{lines}")

    events = import_log("nowplaying", [str(tmp_path)], tmp_path / "log").events().collect()

    assert events.filter(user_id="1").select("track_id", "at_ms", "asked").rows() == [
        ("9", 1_700_000_000_000, False),
        ("5", 1_700_000_000_001, True),
        ("5", 1_700_000_000_002, True),
    ]


def test_mssd_reads_skip_2_in_the_order_of_positions(tmp_path: Path) -> None:
    """Playbacks keep their order though only the hour is known, also across midnight. skip_2 marks the skips."""
    (tmp_path / "log_0.csv").write_text(
        "session_id,session_position,session_length,track_id_clean,skip_1,skip_2,skip_3,not_skipped,hour_of_day,date\n"
        "0_a,3,3,t_z,false,false,true,false,0,2018-07-16\n"
        "0_a,1,3,t_x,false,true,true,false,23,2018-07-15\n"
        "0_a,2,3,t_y,false,false,false,true,23,2018-07-15\n"
    )

    events = import_log("mssd", [str(tmp_path / "log_0.csv")], tmp_path / "log").events().collect()

    assert events.select("user_id", "track_id", "type").rows() == [
        ("0_a", "t_x", "skip"),
        ("0_a", "t_y", "complete"),
        ("0_a", "t_z", "complete"),
    ]


MSSD = "session_id,session_position,session_length,track_id_clean,skip_1,skip_2,skip_3,not_skipped,hour_of_day,date"


_PLAYBACKS = [(1, 't"x', "true", 23), (2, "t_y", "false", 23), (3, "t_z", "perhaps", 23), (4, "t_z", "true", "late")]


def test_mssd_counts_what_it_cannot_read(tmp_path: Path) -> None:
    """Stray quotes lose no row. A value that cannot be read breaks its row."""
    rows = [f"0_a,{n},4,{track},a,{skip},a,a,{hour},2018-07-15" for n, track, skip, hour in _PLAYBACKS]
    rows += ["", MSSD, "0_a,4,4,t_z"]
    (tmp_path / "log_0.csv").write_text("\n".join([MSSD, *rows]))

    log = import_log("mssd", [str(tmp_path / "log_0.csv")], tmp_path / "log", max_broken=0.7)

    assert log.about["rows"] == {
        "in_files": 7,
        "passed_over": {"blank line": 1, "header line repeated": 1},
        "read": 5,
        "broken": {"missing type": 1, "missing time": 1, "fewer fields than the 10 columns": 1},
        "duplicates": 0,
        "added": 0,
        "kept": 2,
    }
    assert log.events().collect()["track_id"].to_list() == ['t"x', "t_y"]


def test_nowplaying_counts_what_it_cannot_read(tmp_path: Path) -> None:
    """The rows of all three files are counted together. A file that is no part of the split is listed."""
    for part in ("train", "valid", "test", "more"):
        rows = [f"{part}\t5\t1700000000", f"{part}\t\t1700000001", f'{part}\t12"\tnoon', ""]
        (tmp_path / f"{part}.csv").write_text("\n".join(["session_id\titem_id\ttimestamp", *rows]) + "\n")

    about = import_log("nowplaying", [str(tmp_path)], tmp_path / "log", max_broken=0.7).about

    assert about["rows"]["in_files"] == 12
    assert about["rows"]["passed_over"] == {"blank line": 3}
    assert about["rows"]["broken"] == {"missing track_id": 3, "unreadable time (wanted Unix seconds such as 1769853600)": 3}
    assert about["ignored"] == [f"{tmp_path}/more.csv is no part of the split: train.csv, valid.csv, test.csv"]


@pytest.mark.parametrize("source", ["kuairand", "nowplaying", "mssd", "spotify_export"])
def test_formats_with_fixed_columns_refuse_renaming(tmp_path: Path, source: str) -> None:
    """`--column` would have no effect with such a format, so it is an error."""
    with pytest.raises(LogError, match="fixed columns"):
        import_log(source, [str(tmp_path)], tmp_path / "log", columns={"track_id": "song"})


def _yambda(folder: Path, name: str, form: str = "parquet", **columns: object) -> Path:
    """Write a file in Yambda's flat form."""
    folder.mkdir(exist_ok=True)
    frame = pl.DataFrame({"uid": [7, 7], "item_id": [5, 6], "timestamp": [0, 300], "is_organic": [1, 0], **columns})
    path = folder / f"{name}.{form}"
    frame.write_parquet(path) if form == "parquet" else frame.write_csv(path)
    return path


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_yambda_is_read_in_its_parts(tmp_path: Path, form: str) -> None:
    """Less than half of a track is a skip, and opinions are events. Withdrawn opinions are passed over and counted."""
    folder = tmp_path / "50m"
    _yambda(folder, "listens", form, played_ratio_pct=[49, 100], track_length_seconds=[200, 200])
    _yambda(folder, "likes", form, timestamp=[5, 305])
    _yambda(folder, "undislikes", form)
    _yambda(folder, "multi_event", form, event_type=["listen", "like"], played_ratio_pct=[1, None])
    _yambda(folder, "embeddings", form)

    log = import_log("yambda", [str(folder)], tmp_path / "log")

    assert log.events().collect().select("user_id", "track_id", "at_ms", "type").rows() == [
        ("7", "5", YAMBDA_MS, "skip"),
        ("7", "5", YAMBDA_MS + 5_000, "like"),
        ("7", "6", YAMBDA_MS + 300_000, "complete"),
        ("7", "6", YAMBDA_MS + 305_000, "like"),
    ]
    assert log.about["rows"]["in_files"] == 6
    assert log.about["rows"]["passed_over"] == {TAKEN_BACK: 2}
    assert [name.rpartition("/")[2] for name in log.about["ignored"]] == [
        f"embeddings.{form} is none of listens, likes, dislikes, unlikes, undislikes, multi_event",
        f"multi_event.{form} has the events of the files beside it",
    ]


def test_yambda_is_read_in_one_file(tmp_path: Path) -> None:
    """Each row of `multi_event` names its type."""
    kinds = pl.Series(["listen", "dislike"], dtype=pl.Categorical())
    path = _yambda(tmp_path / "50m", "multi_event", event_type=kinds, played_ratio_pct=[None, None])

    log = import_log("yambda", [str(path)], tmp_path / "log", max_broken=0.5)

    assert log.events().collect().select("track_id", "type").rows() == [("6", "dislike")]
    assert log.about["rows"]["broken"] == {"missing type": 1}


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_kuairand_full_is_read_from_its_logs(tmp_path: Path, form: str) -> None:
    """All log files of a folder are read. The files of features are listed."""
    (tmp_path / "data").mkdir()
    columns = {
        "user_id": [1, 1],
        "video_id": [10, 11],
        "date": [20220422, 20220423],
        "time_ms": [EVENTS_FROM_MS, EVENTS_FROM_MS + 9],
    }
    columns |= {
        "is_like": [0, 1],
        "is_hate": [0, 0],
        "long_view": [0, 1],
        "play_time_ms": [1, 2],
        "is_rand": [0, 0],
        "tab": [1, 0],
    }
    for name in ("log_standard_4_22_to_5_08_1k", "log_random_4_22_to_5_08_1k", "user_features_1k"):
        frame = pl.DataFrame(columns).with_columns(video_id=pl.col("video_id") + 100 * (name.startswith("log_random")))
        path = tmp_path / "data" / f"{name}.{form}"
        frame.write_csv(path) if form == "csv" else frame.write_parquet(path)

    log = import_log("kuairand_full", [str(tmp_path / "data")], tmp_path / "log")

    assert log.events().collect().select("track_id", "type", "asked").rows() == [
        ("10", "skip", True),
        ("110", "skip", True),
        ("11", "complete", False),
        ("111", "complete", False),
        ("11", "like", False),
        ("111", "like", False),
    ]
    assert (log.about["rows"]["in_files"], log.about["rows"]["added"]) == (4, 2)
    assert [name.rpartition("/")[2] for name in log.about["ignored"]] == [
        f"user_features_1k.{form} is no log_standard_* or log_random_*"
    ]


def test_recbole_reads_ratings_and_titles(tmp_path: Path) -> None:
    """In RecBole's MovieLens, a rating below 3 is a skip, and titles come from the file of items."""
    (tmp_path / "ml").mkdir()
    (tmp_path / "ml" / "ml-100k.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        "196\t242\t3\t881250949\n186\t302\t2.5\t891717742\n22\t377\tbad\t878887116\n22\t377\t\t878887116\n\n1\t2\n"
    )
    (tmp_path / "ml" / "ml-100k.item").write_text(
        'item_id:token\tmovie_title:token_seq\trelease_year:token\n242\t"Kolya\t1996\n302\tL.A. Confidential\t1997\n'
    )

    log = import_log("recbole", [str(tmp_path / "ml")], tmp_path / "log", max_broken=0.5)
    catalogue = log.catalogue()

    assert log.events().collect().select("user_id", "track_id", "type").rows() == [
        ("186", "302", "skip"),
        ("196", "242", "complete"),
        ("22", "377", "complete"),
    ]
    assert log.about["rows"]["broken"] == {"unreadable rating": 1, "fewer fields than the 4 columns": 1}
    assert log.about["rows"]["passed_over"] == {"blank line": 1}
    assert catalogue is not None
    assert catalogue["title"].to_list() == ['"Kolya', "L.A. Confidential"]


@pytest.mark.parametrize(("source", "name"), [("yambda", "x.parquet"), ("kuairand_full", "x.parquet"), ("recbole", "x.item")])
def test_a_folder_without_the_files_that_matter_is_refused(tmp_path: Path, source: str, name: str) -> None:
    """The error says which files were expected."""
    if name.endswith("parquet"):
        pl.DataFrame({"a": [1]}).write_parquet(tmp_path / name)
    else:
        (tmp_path / name).write_text("item_id:token\tname:token\n1\tx\n")

    with pytest.raises(LogError, match=f"{tmp_path}: wanted"):
        import_log(source, [str(tmp_path)], tmp_path / "log")
