"""The files of an import: which are read, which are ignored, and under which name they are shown."""

import zipfile
from pathlib import Path

import pytest

from training.data.log import LogError
from training.sources.tables.files import File, find

KINDS = (".csv", ".json")


def names(folder: Path, *paths: str) -> tuple[list[str], list[str]]:
    """Return the found and the ignored files of some paths below a folder, without the folder's own name."""
    files, ignored = find({str(folder / path): str(folder / path) for path in paths}, KINDS)
    return [file.name.removeprefix(f"{folder}/") for file in files], [
        f"{one.name.removeprefix(f'{folder}/')} {one.why}" for one in ignored
    ]


def write(folder: Path, *paths: str) -> None:
    """Make empty files."""
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("")


def test_a_folder_is_all_files_in_it(tmp_path: Path) -> None:
    """Files are found at any depth, compressed or not. The other files are listed with the reason."""
    write(tmp_path, "a/1.csv", "a/b/2.CSV.gz", "a/b/3.json", "a/read me.pdf", "a/_delta_log/0.json", "a/.4.csv", "a/_SUCCESS")

    found, ignored = names(tmp_path, "a")

    assert found == ["a/1.csv", "a/b/2.CSV.gz", "a/b/3.json"]
    assert ignored == ["a/.4.csv is hidden", "a/_delta_log/0.json is hidden", "a/read me.pdf does not end in .csv, .json"]


def test_an_archive_is_a_folder(tmp_path: Path) -> None:
    """It is read as downloaded. The name of a file in it begins with the archive's name."""
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for name in ("MyData/b.json", "MyData/a.csv.xz", "MyData/Read me.pdf", "__MACOSX/MyData/._a.csv"):
            archive.writestr(name, "")
        archive.mkdir("MyData/empty")
    found, ignored = names(tmp_path, "data.zip")

    assert found == ["data.zip: MyData/a.csv.xz", "data.zip: MyData/b.json"]
    assert ignored == [
        "data.zip: MyData/Read me.pdf does not end in .csv, .json",
        "data.zip: __MACOSX/MyData/._a.csv is hidden",
    ]


def test_a_glob_is_what_it_matches(tmp_path: Path) -> None:
    """`**` matches any depth. Matching files of other kinds are listed."""
    write(tmp_path, "x/a/1.csv", "x/a/1.txt", "y/1.csv")

    assert names(tmp_path, "x/**/*") == (["x/a/1.csv"], ["x/a/1.txt does not end in .csv, .json"])


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("absent.csv", "absent.csv: no such file or folder"),
        ("a/1.txt", "1.txt: wanted a name that ends in .csv, .json; found .*1.txt"),
        ("a", "a: wanted a name that ends in .csv, .json; found .*1.txt, .*2.txt, .*3.txt, .*4.txt, .*5.txt and 1 more"),
        ("a/*.csv", r"a/\*.csv: wanted a name that ends in .csv, .json; found no file"),
        ("empty", "empty: wanted a name that ends in .csv, .json; found no file"),
        ("broken.zip", "broken.zip cannot be read as a zip archive"),
    ],
)
def test_a_path_without_a_file_to_read_is_refused(tmp_path: Path, path: str, words: str) -> None:
    """The error names the files that are there."""
    write(tmp_path, *(f"a/{number}.txt" for number in range(1, 7)), "broken.zip")
    (tmp_path / "empty").mkdir()

    with pytest.raises(LogError, match=words):
        names(tmp_path, path)


def test_files_are_named_as_the_person_knows_them(tmp_path: Path) -> None:
    """Files of a remote store are copied to a temporary folder, whose name means nothing to a person."""
    write(tmp_path, "0/day=1/a.csv", "0/day=2/a.csv")
    files, _ = find({str(tmp_path / "0"): "s3://bucket/log"}, KINDS)

    assert [file.name for file in files] == ["s3://bucket/log/day=1/a.csv", "s3://bucket/log/day=2/a.csv"]
    assert files[0].folders == ("bucket", "log", "day=1")


def test_folders_name_columns(tmp_path: Path) -> None:
    """Names follow Hive, with its escapes for special characters and for null."""
    folders = ("type=skip", "user=a%20b", "day=__HIVE_DEFAULT_PARTITION__", "x")

    assert File(path=tmp_path, name="", folders=folders).keys == {"type": "skip", "user": "a b", "day": ""}


@pytest.mark.parametrize(
    ("name", "kind"), [("a.csv", ".csv"), ("A.CSV.GZ", ".csv"), ("a.b.json.zst", ".json"), ("a", ""), ("a.gz", "")]
)
def test_a_compression_is_no_kind(tmp_path: Path, name: str, kind: str) -> None:
    """`.csv.gz` is CSV."""
    assert File(path=tmp_path / name, name=name, folders=()).kind == kind
