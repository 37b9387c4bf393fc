"""Text files, decompressed, within limits: a small file may claim to be a huge one, or to be one endless line.

    .gz .bz2 .zip    at most ``expansion`` times their size on the disk, and always at least 64 MiB
    a line           at most ``line`` bytes

An archive is read as a stream and never unpacked to the disk, so the names in it lead nowhere.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from blockdot.errors import DataError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_COMPRESSED = {".gz", ".bz2", ".zip"}
_UNREADABLE = {".xz", ".zst", ".lz4", ".7z", ".tar", ".tgz", ".rar"}
_ALWAYS = 1 << 26
_BUFFER = 1 << 17


@dataclass(frozen=True)
class Limits:
    """How many times its size a compressed file may become, and the bytes of the longest line."""

    expansion: int = 200
    line: int = 1 << 26

    def largest(self, path: Path) -> int:
        """The bytes that the file ``path`` may become."""
        return max(_ALWAYS, self.expansion * path.stat().st_size)

    def check_size(self, path: Path, size: int, largest: int | None = None) -> None:
        """Raise DataError if the file ``path`` may not become ``size`` bytes."""
        if size > (self.largest(path) if largest is None else largest):
            raise DataError(
                f"{path}: {path.stat().st_size:,} bytes on the disk become {size:,} or more; a file that grows "
                f"{self.expansion}-fold is taken for a trap: if it is what it should be, set max_expansion"
            )


DEFAULT = Limits()


class Text:
    """An open file: whole lines, and so many bytes."""

    def __init__(self, path: Path, file: IO[bytes], limits: Limits) -> None:
        self._path, self._file, self._limits = path, file, limits
        self.read, self.seek, self.tell = file.read, file.seek, file.tell

    def line(self) -> bytes:
        """The rest of the line."""
        data = self._file.readline(self._limits.line + 1)
        if len(data) > self._limits.line:
            raise DataError(
                f"{self._path}: a line is longer than {self._limits.line:,} bytes; needed text with line ends: convert "
                "the file, or set max_line_bytes"
            )
        return data


def is_compressed(path: Path) -> bool:
    """Whether the file is read as a stream."""
    return path.suffix.lower() in _COMPRESSED


@contextmanager
def open_text(path: Path, limits: Limits = DEFAULT) -> Iterator[Text]:
    """The bytes of a text file, decompressed. Raises DataError if it cannot be read, is damaged, or grows too large."""
    try:
        with _open(path, limits) as file:
            yield Text(path, file, limits)
    except (gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError) as error:
        raise DataError(
            f"{path}: the compressed file is damaged or of another kind ({error}); fetch it again"
        ) from None
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}); check the file and its permissions"
        ) from None


def _open(path: Path, limits: Limits) -> IO[bytes]:
    suffix = path.suffix.lower()
    if suffix in _UNREADABLE:
        raise DataError(
            f"{path}: {suffix} files cannot be read; needed plain text, .gz, .bz2 or .zip: convert the file"
        )
    if suffix == ".gz":
        return _Growing.open(path, cast(IO[bytes], gzip.open(path)), limits)
    if suffix == ".bz2":
        return _Growing.open(path, cast(IO[bytes], bz2.open(path)), limits)
    if suffix == ".zip":
        return _Growing.open(path, _open_zip(path, limits), limits)
    return path.open("rb")


def _open_zip(path: Path, limits: Limits) -> IO[bytes]:
    archive = zipfile.ZipFile(path)
    files = [info for info in archive.infolist() if not info.is_dir()]
    if len(files) != 1:
        raise DataError(f"{path}: found {len(files)} files in the archive, needed one; unpack it and name the files")
    limits.check_size(path, files[0].file_size)  # zipfile reads no more than that, and checks it
    try:
        return archive.open(files[0])
    except (RuntimeError, NotImplementedError) as error:  # a password is needed, or another program
        raise DataError(f"{path}: the archive cannot be read ({error}); unpack it and name the file") from None


class _Growing(io.RawIOBase):
    """A decompressed stream that counts what comes out."""

    def __init__(self, path: Path, stream: IO[bytes], limits: Limits) -> None:
        self._path, self._stream, self._limits = path, stream, limits
        self._size, self._largest = 0, limits.largest(path)

    @classmethod
    def open(cls, path: Path, stream: IO[bytes], limits: Limits) -> IO[bytes]:
        """The stream, counted and buffered."""
        return cast(IO[bytes], io.BufferedReader(cls(path, stream, limits), _BUFFER))

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """What is decompressed next."""
        data = self._stream.read(len(memoryview(buffer)))
        memoryview(buffer)[: len(data)] = data
        self._size += len(data)
        self._limits.check_size(self._path, self._size, self._largest)
        return len(data)

    def close(self) -> None:
        """Close the stream, too."""
        self._stream.close()
        super().close()
