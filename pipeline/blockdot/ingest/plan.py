"""Which files there are, and how they are cut into pieces that are read independently.

A plain text file is cut at line ends, a Parquet file at its row groups; a compressed file is one piece, read as a stream.
The cuts depend on the files and the spec alone. Each piece knows the number of its first line, so that every error can
name a line, and every row has an identity: the name of its file, below the folder that all input files share, and its
line (for Parquet its row), counted from 1.
"""

from __future__ import annotations

import bz2
import csv
import glob
import gzip
import importlib.util
import io
import mmap
import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from blockdot.blocks.tree import Pool
from blockdot.errors import DataError
from blockdot.ingest.spec import DataSpec

Paths = str | Path | Sequence[str | Path]

_MIB = 1 << 20
_BOM = b"\xef\xbb\xbf"
_COMPRESSED = (".gz", ".bz2", ".zip")


@dataclass(frozen=True)
class InputFile:
    """A raw file: where it is, and its name for the identity of its rows, which does not depend on where it is."""

    path: Path
    name: str
    index: int


@dataclass(frozen=True)
class Piece:
    """A part of a file: bytes start … stop of a text, row group ``start`` of a Parquet file, or a whole stream."""

    file: InputFile
    start: int = 0
    stop: int | None = None
    first_line: int = 1
    header: tuple[str, ...] | None = None
    """The names of the columns of a delimited text."""


@dataclass(frozen=True)
class Text:
    """Whole lines of a text file, the first of which has the number ``first_line``."""

    file: InputFile
    data: bytes
    first_line: int
    header: tuple[str, ...] | None = None

    def where(self, line: int) -> str:
        """``file:line``, for a line counted from 0 within this text."""
        return f"{self.file.path}:{self.first_line + line}"


def find_files(inputs: Paths) -> list[InputFile]:
    """The files that ``inputs`` name: paths, globs, folders (all files in them), ``package:NAME/path`` of an installed one.

    Raises DataError for a path that names nothing, and for a file that is empty or cannot be read.
    """
    wanted = [inputs] if isinstance(inputs, (str, Path)) else list(inputs)
    paths = [path for item in wanted for path in _expand(str(item))]
    if not paths:
        raise DataError("no input files were named; needed at least one")
    paths = list(dict.fromkeys(path.absolute() for path in paths))
    root = Path(os.path.commonpath([path.parent for path in paths]))
    for path in paths:
        _check_readable(path)
    return [InputFile(path, path.relative_to(root).as_posix(), i) for i, path in enumerate(paths)]


def cut(files: Sequence[InputFile], data: DataSpec, pool: Pool) -> list[Piece]:
    """Cut the files into pieces, counting lines in parallel."""
    if data.format == "parquet":
        return [piece for pieces in pool.map(_row_groups, files) for piece in pieces]
    size = data.block_bytes or min(max(sum(f.path.stat().st_size for f in files) // 64, _MIB), 32 * _MIB)
    pieces = [piece for file in files for piece in _cut_text(file, data, size)]
    counts = pool.map(_count_lines, pieces)
    line, numbered, before = 1, [], None
    for piece, lines in zip(pieces, counts, strict=True):
        if piece.file != before:
            line, before = piece.first_line, piece.file
        numbered.append(Piece(piece.file, piece.start, piece.stop, line, piece.header))
        line += lines
    return numbered


def read_texts(piece: Piece, data: DataSpec, size: int) -> Iterator[Text]:
    """The lines of a piece: one text, or, for a stream, texts of about ``size`` bytes."""
    if piece.stop is not None:
        with piece.file.path.open("rb") as file:
            file.seek(piece.start)
            yield Text(piece.file, file.read(piece.stop - piece.start), piece.first_line, piece.header)
        return
    line, rest, unlimited = piece.first_line, b"", data.quoted_newlines
    with open_stream(piece.file) as stream:
        for _ in range(piece.first_line - 1):
            stream.readline()
        while part := _read(piece.file, stream, -1 if unlimited else size):
            end = len(part) if unlimited else part.rfind(b"\n") + 1
            text, rest = rest + part[:end], part[end:] if end else rest + part
            if end:
                yield Text(piece.file, text, line, piece.header)
                line += text.count(b"\n")
    if rest:
        yield Text(piece.file, rest, line, piece.header)


@contextmanager
def open_stream(file: InputFile) -> Iterator[BinaryIO]:
    """The uncompressed bytes of a file, past a byte-order mark."""
    suffix = file.path.suffix
    try:
        with _opened(file.path, suffix) as stream:
            buffered = io.BufferedReader(cast(io.RawIOBase, stream), _MIB)
            if buffered.peek(3)[:3] == _BOM:
                buffered.read(3)
            yield cast(BinaryIO, buffered)
    except (gzip.BadGzipFile, zipfile.BadZipFile, EOFError, OSError) as error:
        raise DataError(f"{file.path} cannot be read as {suffix or 'a file'}: {error}; is it whole?") from error


def _opened(path: Path, suffix: str) -> BinaryIO:
    if suffix == ".gz":
        return cast(BinaryIO, gzip.open(path, "rb"))
    if suffix == ".bz2":
        return cast(BinaryIO, bz2.open(path, "rb"))
    if suffix == ".zip":
        archive = zipfile.ZipFile(path)
        members = [member for member in archive.infolist() if not member.is_dir()]
        if len(members) != 1:
            raise DataError(f"{path} holds {len(members)} files; needed a zip archive of exactly one")
        return cast(BinaryIO, archive.open(members[0]))
    return path.open("rb")


def _read(file: InputFile, stream: BinaryIO, size: int) -> bytes:
    try:
        return stream.read(size)
    except (EOFError, OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{file.path} is damaged: {error}; unpack it to see, or fetch it again") from error


def _expand(item: str) -> list[Path]:
    if item.startswith("package:"):
        return [_in_package(item)]
    path = Path(item).expanduser()
    if path.is_dir():
        return sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith((".", "_")))
    found = [path] if path.exists() else sorted(Path(p) for p in glob.glob(str(path), recursive=True))
    if not found:
        raise DataError(f"{item}: there is no such file; needed a path, a pattern such as 'day*.gz', or a folder")
    return [p for p in found if not p.is_dir()]


def _in_package(item: str) -> Path:
    """Find a file that an installed package brings, without importing the package."""
    name, _, inside = item.removeprefix("package:").partition("/")
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None:
        raise DataError(f"{item}: the package {name!r} is not installed; install it (pip install {name})")
    for folder in spec.submodule_search_locations or ():
        path = Path(folder) / inside
        if ".." not in Path(inside).parts and path.is_file():
            return path
    raise DataError(f"{item}: the package {name!r} is installed but has no file {inside!r}")


def _check_readable(path: Path) -> None:
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    if empty:
        raise DataError(f"{path} is empty; needed at least one row")


def _cut_text(file: InputFile, data: DataSpec, size: int) -> Iterator[Piece]:
    header, start = None, 0
    if data.format in ("csv", "tsv"):
        header, start = _read_header(file, data)
    first_line = 1 if start == 0 or data.columns is not None else 2
    if file.path.suffix in _COMPRESSED or data.quoted_newlines:
        yield Piece(file, 0, None, first_line, header)
        return
    total = file.path.stat().st_size
    with file.path.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as text:
        if start == 0 and text[:3] == _BOM:
            start = 3
        while start < total:
            end = text.find(b"\n", min(start + size, total) - 1)
            stop = total if end < 0 else end + 1
            yield Piece(file, start, stop, first_line, header)
            start = stop


def _read_header(file: InputFile, data: DataSpec) -> tuple[tuple[str, ...], int]:
    """The names of the columns, and the offset of the first byte after the header line."""
    if data.columns is not None:
        return data.columns, 0
    with open_stream(file) as stream:
        line = stream.readline()
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{file.path}:1: the header is not UTF-8 ({error.reason}); convert the file") from None
    names = next(csv.reader([text.rstrip("\r\n")], delimiter=delimiter(data)), [])
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise DataError(f"{file.path}:1: the column {twice!r} occurs twice in the header; rename one of them")
    with file.path.open("rb") as opened:
        marked = file.path.suffix not in _COMPRESSED and opened.read(3) == _BOM
    return tuple(names), len(line) + 3 * marked


def delimiter(data: DataSpec) -> str:
    """What separates the fields of a line."""
    return data.delimiter or ("\t" if data.format == "tsv" else ",")


def _count_lines(piece: Piece) -> int:
    if piece.stop is None:
        return 0
    with piece.file.path.open("rb") as file:
        file.seek(piece.start)
        return file.read(piece.stop - piece.start).count(b"\n")


def _row_groups(file: InputFile) -> list[Piece]:
    try:
        metadata = pq.ParquetFile(file.path).metadata
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file.path} is not a Parquet file: {error}") from None
    pieces, row = [], 1
    for group in range(metadata.num_row_groups):
        pieces.append(Piece(file, group, None, row))
        row += metadata.row_group(group).num_rows
    return pieces
