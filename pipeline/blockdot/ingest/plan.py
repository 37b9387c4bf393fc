"""Where the rows are: inputs become files, and files become chunks that can be read apart from each other.

    plain text      byte ranges cut at line ends, each with the number of its first line
    .gz .bz2 .zip   one chunk a file, read as a stream and cut into pieces by the same rule
    Parquet         runs of row groups

A piece ends at the first line end at or after ``block_bytes`` bytes: the cuts depend on the files and the spec alone.
A file is known by its path relative to the common parent of all files (by its base name if there is one file), never
by where it lies on a machine.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from blockdot.blocks.tree import Pool
from blockdot.errors import DataError
from blockdot.ingest.files import DEFAULT, Limits, is_compressed, open_text
from blockdot.ingest.inputs import resolve
from blockdot.ingest.spec import DataSpec, twice

_MIB = 1 << 20
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Source:
    """A file: its number among the inputs, where it is, its name for the split, its columns, where its rows begin."""

    index: int
    path: Path
    name: str
    columns: tuple[str, ...] | None = None
    body: int = 0
    body_line: int = 1
    limits: Limits = DEFAULT


@dataclass(frozen=True)
class Chunk:
    """Bytes (of a compressed file: all; of a Parquet file: row groups) start … stop−1 of a file."""

    source: Source
    start: int
    stop: int
    first_line: int


@dataclass(frozen=True)
class Piece:
    """Whole lines of a file, the number of the first one, and the columns if the file has named ones."""

    place: str
    first_line: int
    data: bytes
    columns: tuple[str, ...] | None


@dataclass(frozen=True)
class Plan:
    """The files, the chunks in the order of their rows, and the bytes of text in a piece."""

    sources: tuple[Source, ...]
    chunks: tuple[Chunk, ...]
    block_bytes: int


def plan(inputs: str | Path | Sequence[str | Path], spec: DataSpec, pool: Pool) -> Plan:
    """Find the files and cut them into chunks.

    Raises SpecError for inputs that lead to no file, DataError for a file that cannot be read or has no rows.
    """
    files = resolve(inputs)
    block_bytes = spec.block_bytes or min(max(sum(path.stat().st_size for path, _ in files) // 64, _MIB), 32 * _MIB)
    sources = tuple(_inspect(i, path, name, spec) for i, (path, name) in enumerate(files))
    cut = [chunk for source in sources for chunk in _cut(source, spec, block_bytes)]
    if spec.format != "parquet":
        cut = _number_lines(cut, pool)
    return Plan(sources, tuple(cut), block_bytes)


def pieces(chunk: Chunk, block_bytes: int, *, whole: bool = False) -> Iterator[Piece]:
    """The text of a chunk in pieces of whole lines; all of it in one piece if ``whole``."""
    source, line = chunk.source, chunk.first_line
    with open_text(source.path, source.limits) as file:
        if not is_compressed(source.path):
            file.seek(chunk.start)
            yield Piece(str(source.path), line, file.read(chunk.stop - chunk.start), source.columns)
            return
        file.read(source.body)
        while data := file.read() if whole else file.read(block_bytes - 1) + file.line():
            yield Piece(str(source.path), line, data, source.columns)
            line += data.count(b"\n")


def _inspect(index: int, path: Path, name: str, spec: DataSpec) -> Source:
    """See that the file can be read and has content; find its columns and where its rows begin."""
    limits = Limits(spec.max_expansion, spec.max_line_bytes)
    if spec.format == "parquet":
        return Source(index, path, name, tuple(parquet_file(path).schema_arrow.names), limits=limits)
    with open_text(path, limits) as file:
        first = file.line()
        body = len(BOM) if first.startswith(BOM) else 0
        if not first[body:]:
            raise DataError(f"{path}: the file is empty; remove it from the inputs, or write it again")
        if spec.format == "svmlight":
            return Source(index, path, name, None, body, limits=limits)
        if spec.columns is not None:
            return Source(index, path, name, spec.columns, body, limits=limits)
        header, line, end = first[body:], 1, len(first)
        while header and not header.strip(b"\r\n"):
            header, line = file.line(), line + 1
            end += len(header)
    return Source(index, path, name, _header(path, line, header, spec), end, line + 1, limits)


def _header(path: Path, line: int, raw: bytes, spec: DataSpec) -> tuple[str, ...]:
    try:
        text = raw.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}:{line}: column {error.start + 1}: the header is not UTF-8; convert the file") from None
    reader = csv.reader([text], delimiter=spec.separator, quoting=csv.QUOTE_MINIMAL if spec.quoting else csv.QUOTE_NONE)
    try:
        names = next(reader, [])
    except csv.Error as error:
        raise DataError(f"{path}:{line}: the header cannot be read ({error}); convert the line ends to LF") from None
    for name in twice(names):
        raise DataError(f"{path}:{line}: the header has the column {name!r} twice; give each column its own name")
    return tuple(names)


def parquet_file(path: Path) -> pq.ParquetFile:
    """Open a Parquet file. Raises DataError if it is not one."""
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a Parquet file that can be read ({error}); write it again") from None


def _cut(source: Source, spec: DataSpec, block_bytes: int) -> Iterator[Chunk]:
    if spec.format == "parquet":
        yield from _cut_row_groups(source, block_bytes)
    elif is_compressed(source.path):
        yield Chunk(source, source.body, -1, source.body_line)
    elif spec.quoted_newlines:
        yield Chunk(source, source.body, source.path.stat().st_size, source.body_line)
    else:
        yield from _cut_text(source, block_bytes)


def _cut_text(source: Source, block_bytes: int) -> Iterator[Chunk]:
    with open_text(source.path, source.limits) as file:
        size, start = source.path.stat().st_size, source.body
        while start < size:
            file.seek(start + block_bytes - 1)
            file.line()
            stop = min(file.tell(), size)
            yield Chunk(source, start, stop, source.body_line)
            start = stop


def _cut_row_groups(source: Source, block_bytes: int) -> Iterator[Chunk]:
    """Join row groups while they stay within ``block_bytes``: a file of tiny ones is no store of tiny blocks."""
    metadata = parquet_file(source.path).metadata
    declared = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    source.limits.check_size(source.path, max(declared, metadata.num_rows))
    if metadata.num_rows == 0:
        raise DataError(f"{source.path}: the file has no rows; remove it from the inputs, or write it again")
    start = row = rows = size = 0
    for i in range(metadata.num_row_groups):
        group = metadata.row_group(i)
        if i > start and size + group.total_byte_size > block_bytes:
            yield Chunk(source, start, i, row + 1)
            start, row, rows, size = i, row + rows, 0, 0
        rows += group.num_rows
        size += group.total_byte_size
    yield Chunk(source, start, metadata.num_row_groups, row + 1)


def _number_lines(chunks: list[Chunk], pool: Pool) -> list[Chunk]:
    """Give each chunk the number of its first line; lines are counted in parallel where a file has several chunks."""
    files = [chunk.source.index for chunk in chunks]
    followed = [chunk for chunk, after in zip(chunks, files[1:], strict=False) if chunk.source.index == after]
    counts = dict(zip(followed, pool.map(_count_lines, followed), strict=True))
    numbered: list[Chunk] = []
    for chunk in chunks:
        before = numbered[-1] if numbered else None
        if before is not None and before.source is chunk.source:
            line = before.first_line + counts[Chunk(before.source, before.start, before.stop, before.source.body_line)]
            chunk = Chunk(chunk.source, chunk.start, chunk.stop, line)
        numbered.append(chunk)
    return numbered


def _count_lines(chunk: Chunk) -> int:
    with open_text(chunk.source.path) as file:
        file.seek(chunk.start)
        left, lines = chunk.stop - chunk.start, 0
        while left > 0 and (data := file.read(min(left, _MIB))):
            lines += int(np.count_nonzero(np.frombuffer(data, np.uint8) == ord("\n")))
            left -= len(data)
    return lines
