"""Opens files as streams of bytes or text, decompressed, with limits that stop a compressed bomb.

The first bytes decide how a file is compressed (gzip, zstd, xz, bzip2), not its name. Text is decoded by the given encoding,
its byte order mark, or else as UTF-8. A byte that is not UTF-8 stays in its line as a lone surrogate, so that an error can name
the line.
"""

import bz2
import codecs
import gzip
import io
import json
import lzma
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Any, cast

from training.data.log import LogError
from training.sources.tables.files import File

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BLOCK = 4 << 20
"""Number of bytes read at a time."""
LONGEST_LINE = 16 << 20
"""A file with a longer line, in characters, is refused."""
LARGEST_RATIO, FREE = 300, 64 << 20
"""A file may expand to 64 MB, or to this many times its size. Real logs expand 5 to 50 times, bombs 1,000 times and more."""

_DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, zstd.ZstdError, ValueError)
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"} | {
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@contextmanager
def open_bytes(file: File) -> Iterator[io.BufferedReader]:
    """Open the decompressed bytes of a file. LogError if the data is damaged, encrypted or a bomb."""
    with ExitStack() as stack:
        try:
            stored, size = _stored(file, stack)
            unpack = next((unpack for magic, unpack in _UNPACKED.items() if stored.peek(8).startswith(magic)), None)
            inner = stored if unpack is None else stack.enter_context(unpack(stored))
        # the last two: a zip's unknown methods, and its passwords
        except (*_DAMAGED, NotImplementedError, RuntimeError) as error:
            if isinstance(error, OSError) and error.filename:
                raise
            raise LogError(f"{file.name} cannot be read: {error}") from error
        packed = unpack is not None or file.member is not None
        yield stack.enter_context(io.BufferedReader(_Bounded(inner, file.name, size), BLOCK)) if packed else stored


def text_blocks(file: File, encoding: str | None) -> Iterator[str]:
    """Yield the text of a file in blocks of any length. LogError if a file in UTF-16 or a given encoding cannot be decoded."""
    with open_bytes(file) as stream:
        name = encoding or detect(stream.peek(8)[:8])
        decode = decoder(name)
        done = 0
        while True:
            data = stream.read(BLOCK)
            try:
                text = decode.decode(data, final=not data)
            except UnicodeDecodeError as error:
                raise LogError(
                    f"{file.name} is not {name}: byte {done + error.start + 1:,} cannot be decoded ({error.reason});"
                    " --encoding names another encoding, for example cp1252"
                ) from error
            if text:
                yield text
            if not data:
                return
            done += len(data)


def count_lines(file: File, encoding: str | None) -> int:
    """Count the lines of a text file by their ends only, without a parser. A byte order mark without text is no line."""
    with open_bytes(file) as stream:
        name = encoding or detect(stream.peek(8)[:8])
        wide = codecs.lookup(name).name.startswith(("utf-16", "utf-32"))
        decode = decoder(name)
        ends = returns = length = 0
        last = b"\n"
        while data := stream.read(BLOCK):
            if wide:
                data = decode.decode(data).encode("utf-8", "surrogatepass")
            if not length:
                data = data.removeprefix(codecs.BOM_UTF8)
            ends, returns, length = ends + data.count(b"\n"), returns + data.count(b"\r"), length + len(data)
            last = data[-1:] or last
    if not ends and returns:  # the line ends of old Macintosh computers
        return returns + (last != b"\r")
    return ends + (last != b"\n")


def detect(head: bytes) -> str:
    """Return the encoding that a file's first bytes show, by a byte order mark or by the zeros of UTF-16 and UTF-32."""
    marked = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)
    guessed = json.detect_encoding(head) if len(head) >= 4 else "utf-8"
    return marked or (guessed if guessed.startswith(("utf-16", "utf-32")) else "utf-8")


def decoder(encoding: str) -> codecs.IncrementalDecoder:
    """Return an incremental decoder. For UTF-8 it keeps invalid bytes, so that they break their line and not the file."""
    try:
        lenient = codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")
        return codecs.getincrementaldecoder(encoding)("surrogateescape" if lenient else "strict")
    except LookupError as error:
        raise LogError(f"--encoding {encoding}: no such encoding; examples are utf-8, utf-16, cp1252, latin-1") from error


def _stored(file: File, stack: ExitStack) -> tuple[io.BufferedReader, int]:
    """Open the bytes as stored on disk, or unpacked from an archive. Also returns how many there are on disk."""
    if file.member is None:
        return stack.enter_context(file.path.open("rb")), file.path.stat().st_size
    archive = stack.enter_context(zipfile.ZipFile(file.path))
    size = archive.getinfo(file.member).compress_size
    stream = stack.enter_context(archive.open(file.member))
    return stack.enter_context(io.BufferedReader(cast("io.RawIOBase", stream))), size


_UNPACKED: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": lambda stream: gzip.GzipFile(fileobj=stream),
    b"\x28\xb5\x2f\xfd": zstd.ZstdFile,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
    b"BZh": bz2.BZ2File,
}


class _Bounded(io.RawIOBase):
    """A stream of decompressed bytes that ends in a LogError if it is damaged or grows too large."""

    def __init__(self, inner: IO[bytes], name: str, size: int) -> None:
        self._inner, self._name = inner, name
        self._limit, self._given = max(FREE, LARGEST_RATIO * size), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override] # narrower than any buffer
        try:
            data = self._inner.read(len(buffer))
        except _DAMAGED as error:
            raise LogError(f"{self._name} cannot be read: the compressed data is damaged or cut short ({error})") from error
        self._given += len(data)
        if self._given > self._limit:
            raise LogError(
                f"{self._name} expands to more than {self._limit >> 20:,} MB, {LARGEST_RATIO} times its size or more;"
                " real logs do not. Decompress it first if it is right"
            )
        buffer[: len(data)] = data
        return len(data)
