"""Compressed files are read whatever their names are. Damaged files and compression bombs are refused in a sentence."""

import bz2
import gzip
import lzma
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from training.data.log import LogError
from training.sources.tables import streams
from training.sources.tables.files import File
from training.sources.tables.streams import count_lines, open_bytes, text_blocks

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TEXT = "".join(f"line {number}\n" for number in range(20_000))
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "zst": zstd.compress,
    "xz": lzma.compress,
    "bz2": bz2.compress,
}


def file_of(folder: Path, data: bytes, name: str = "log.csv") -> File:
    """Make a file with these bytes."""
    (folder / name).write_bytes(data)
    return File(path=folder / name, name=name, folders=())


def zipped(folder: Path, data: bytes, method: int = zipfile.ZIP_DEFLATED) -> File:
    """Make a file in an archive."""
    with zipfile.ZipFile(folder / "log.zip", "w", method) as archive:
        archive.writestr("log.csv", data)
    return File(path=folder / "log.zip", name="log.zip: log.csv", folders=(), member="log.csv")


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz", "log.csv.zst"])
def test_the_first_bytes_say_how_a_file_is_compressed(tmp_path: Path, packer: str, name: str) -> None:
    """Its name does not matter. Two compressed files, one after the other, are read as one."""
    half = len(TEXT) // 2
    file = file_of(tmp_path, PACKERS[packer](TEXT[:half].encode()) + PACKERS[packer](TEXT[half:].encode()), name)

    assert "".join(text_blocks(file, None)) == TEXT
    assert count_lines(file, None) == 20_000


@pytest.mark.parametrize("packer", [*PACKERS, "none"])
def test_a_file_in_an_archive_is_read(tmp_path: Path, packer: str) -> None:
    """It may be compressed once more."""
    file = zipped(tmp_path, PACKERS.get(packer, bytes)(TEXT.encode()))

    assert "".join(text_blocks(file, None)) == TEXT


@pytest.mark.parametrize("packer", [*PACKERS, "zip"])
def test_a_file_that_is_cut_short_is_named(tmp_path: Path, packer: str) -> None:
    """A download that broke off must not pass for the whole log."""
    if packer == "zip":
        file = zipped(tmp_path, TEXT.encode())
        data = bytearray(file.path.read_bytes())
        data[500:600] = bytes(100)
        file.path.write_bytes(data)
    else:
        file = file_of(tmp_path, PACKERS[packer](TEXT.encode())[:-100])

    with pytest.raises(LogError, match=r"log\..* cannot be read"):
        list(text_blocks(file, None))


def read_all(file: File) -> None:
    """Read a file to the end without keeping anything."""
    with open_bytes(file) as stream:
        while stream.read(1 << 20):
            pass


@pytest.mark.parametrize("packer", [*PACKERS, "zip"])
def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packer: str) -> None:
    """No real log compresses as well as zeros do."""
    monkeypatch.setattr(streams, "FREE", 1 << 20)
    zeros = bytes(8 << 20)
    file = zipped(tmp_path, zeros) if packer == "zip" else file_of(tmp_path, PACKERS[packer](zeros))

    with pytest.raises(LogError, match=r"log\..* expands to more than .* MB, 300 times its size or more"):
        read_all(file)


def test_a_bomb_takes_little_memory(tmp_path: Path) -> None:
    """The file expands from 20 KB to 200 MB, of which only a few blocks are in memory."""
    with zstd.open(tmp_path / "log.csv", "wb") as into:
        for _ in range(200):
            into.write(bytes(1 << 20))
    tracemalloc.start()
    with pytest.raises(LogError, match="expands"):
        read_all(File(path=tmp_path / "log.csv", name="log.csv", folders=()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 32 << 20


def test_a_log_that_repeats_itself_is_no_bomb(tmp_path: Path) -> None:
    """Constant columns compress well, so 64 MB are allowed whatever the ratio."""
    file = file_of(tmp_path, gzip.compress(b"u,t,play\n" * 200_000))

    read_all(file)

    assert count_lines(file, None) == 200_000


def test_an_archive_with_a_password_is_refused(tmp_path: Path) -> None:
    """The error has Python's own words."""
    file = zipped(tmp_path, b"a,b\n")
    data = bytearray(file.path.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the bit that marks a file as encrypted
        data[data.index(mark) + place] |= 1
    file.path.write_bytes(data)

    with pytest.raises(LogError, match=r"log.zip: log.csv cannot be read: .*password"):
        list(text_blocks(file, None))


@pytest.mark.parametrize(
    ("data", "encoding", "text"),
    [
        ("a\nü".encode("cp1252"), "cp1252", "a\nü"),
        ("\ufeffa\n".encode("utf-16-le"), None, "a\n"),
        ("a\nü\n".encode("utf-16-be"), None, "a\nü\n"),
        ("€".encode(), None, "€"),
    ],
)
def test_text_is_decoded(tmp_path: Path, data: bytes, encoding: str | None, text: str) -> None:
    """The encoding comes from a byte order mark, from zeros, or from the person."""
    assert "".join(text_blocks(file_of(tmp_path, data), encoding)) == text


@pytest.mark.parametrize(("data", "encoding"), [("a\nb".encode("utf-16-le")[:-1], None), (b"a\x81", "cp1252")])
def test_text_that_cannot_be_decoded_is_refused(tmp_path: Path, data: bytes, encoding: str | None) -> None:
    """In these encodings, one wrong byte can spoil all text after it."""
    with pytest.raises(LogError, match=r"log.csv is not .*: byte \d cannot be decoded.*--encoding"):
        list(text_blocks(file_of(tmp_path, data), encoding))


def test_an_unknown_encoding_is_refused(tmp_path: Path) -> None:
    """The error has examples."""
    with pytest.raises(LogError, match="--encoding klingon: no such encoding; examples are utf-8"):
        list(text_blocks(file_of(tmp_path, b"a"), "klingon"))


@pytest.mark.parametrize(
    ("data", "lines"),
    [(b"", 0), (b"\xef\xbb\xbf", 0), (b"a", 1), (b"a\n", 1), (b"a\n\n", 2), (b"a\r\nb", 2), (b"a\rb\r", 2), (b"a\rb", 2)],
)
def test_lines_are_counted_by_their_ends(tmp_path: Path, data: bytes, lines: int) -> None:
    """The last line may have none."""
    assert count_lines(file_of(tmp_path, data), None) == lines


def test_wide_encodings_are_counted_by_letters(tmp_path: Path) -> None:
    """The letter U+0A0A contains the byte of a line feed twice."""
    assert count_lines(file_of(tmp_path, "\ufeff\u0a0a\n\u0a0a".encode("utf-16-le")), None) == 2
