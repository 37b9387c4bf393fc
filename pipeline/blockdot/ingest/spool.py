"""Rows that come in parts, cut into blocks at the rows where one array of them all would be cut.

    chunks → pieces, checked, in files          pieces → blocks between block_edges(pieces), a store, once all are there

A piece is what is made of one chunk, so that a collection is computed once though its rows can only be counted then:
where blocks end follows from the totals of the pieces, and from the rows of those in which one ends. A store made so
has the bits of the same rows in one array, whatever the chunks were. All lies in one temporary folder (TMPDIR says
where), which goes when the fit or the process ends; a piece goes when the last block with its rows is written, so the
folder holds the rows about once. Memory is that of one chunk, and of two blocks.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from blockdot import atomic
from blockdot.blocks.arrays import Arrays, Columns, Counted, Targets, block_edges, require_weight
from blockdot.blocks.block import Block
from blockdot.blocks.dataset import Dataset
from blockdot.blocks.matrix import Floats
from blockdot.blocks.store import WrittenBlock, new_store, write_block
from blockdot.blocks.threads import ThreadPool
from blockdot.blocks.tree import Pool
from blockdot.errors import DataError
from blockdot.ingest.collections import LazyRows

_AT_A_TIME = 2  # blocks that are made at the same time in this process: more threads would hold more of the rows


class Entered(NamedTuple):
    """The rows of a chunk as an estimator takes them."""

    X: Any
    y: Targets | None
    sample_weight: ArrayLike | None
    offset: ArrayLike | None
    classes: NDArray[Any] | None = None
    """The distinct labels, where y has their places 0, 1, … among them."""
    names: tuple[str, ...] | None = None
    """Of the features."""


Door = Callable[..., Entered]


class Part(Counted, Protocol):
    """Some rows, to be had again."""

    @property
    def n_features(self) -> int: ...

    def load(self) -> Arrays: ...

    def drop(self) -> None: ...


@dataclass(frozen=True, eq=False)
class HeldPart:
    """Rows that are in this process's memory anyway."""

    arrays: Arrays
    n_features: int

    @property
    def n_rows(self) -> int:
        return self.arrays.n_rows

    @property
    def n_entries(self) -> int:
        return self.arrays.n_entries

    def entries_before(self) -> NDArray[np.int64]:
        """Of the rows."""
        return self.arrays.entries_before()

    def load(self) -> Arrays:
        """The rows."""
        return self.arrays

    def drop(self) -> None:
        """They stay."""


@dataclass(frozen=True)
class _Column:
    """An array in a file: its numbers and nothing else. (To read the header of a .npy file takes Python's parser, which
    in Python 3.11 fails where two threads use it.)"""

    path: Path
    dtype: str
    shape: tuple[int, ...]

    @classmethod
    def written(cls, path: Path, array: NDArray[Any]) -> _Column:
        np.ascontiguousarray(array).tofile(path)
        return cls(path, array.dtype.str, array.shape)

    def load(self) -> NDArray[Any]:
        """The array, mapped."""
        if 0 in self.shape:
            return np.empty(self.shape, self.dtype)
        return np.memmap(self.path, self.dtype, "r", shape=self.shape)


@dataclass(frozen=True, eq=False)
class Piece:
    """The rows of a chunk, in the files of a folder of their own."""

    folder: Path
    files: Mapping[str, _Column]
    n_rows: int
    n_features: int
    n_entries: int = 0
    n_labels: int | None = None
    """L, where y is (n, L)."""
    classes: NDArray[Any] | None = None
    names: tuple[str, ...] | None = None

    @classmethod
    def written(cls, spool: Path, rows: Entered, n_features: int) -> Piece:
        """Check the rows and write them below the folder ``spool``; none of another attempt is ever overwritten."""
        n = int(rows.X.shape[0])
        arrays = Arrays.checked(rows.X, Columns.checked(n, rows.y, rows.sample_weight, rows.offset))
        folder = spool / uuid.uuid4().hex
        columns = arrays.columns
        found = {"indptr": arrays.indptr, "ids": arrays.ids, "values": arrays.values, "y": columns.y,
                 "sample_weight": columns.sample_weight, "offset": columns.offset}  # fmt: skip
        try:
            folder.mkdir()
            files = {name: _Column.written(folder / name, array) for name, array in found.items() if array is not None}
        except OSError as error:
            raise atomic.write_error(folder, error) from error
        n_labels = None if columns.y is None or columns.y.ndim == 1 else columns.y.shape[1]
        return cls(folder, files, n, n_features, arrays.n_entries, n_labels, rows.classes, rows.names)

    def entries_before(self) -> NDArray[np.int64]:
        """Of the rows in the files."""
        return self.load().entries_before()

    def load(self) -> Arrays:
        """The rows, mapped."""
        found = {name: column.load() for name, column in self.files.items()}
        columns = Columns(found.get("y"), found.get("sample_weight"), found.get("offset"))
        return Arrays(found["indptr"], found["ids"], found["values"], columns)

    def drop(self) -> None:
        """Remove the files."""
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True, eq=False)
class _Cut:
    """A block that is to be written: its rows of each part, and what of its columns does not lie in the parts."""

    first: int
    parts: tuple[tuple[Part, int, int, Floats | None], ...]
    """A part, its rows start … stop−1, and what its y is replaced by: y is a place in it, if it is given."""
    held: Columns

    def written(self, directory: Path) -> WrittenBlock:
        """Write the block; the rows that it was made of are let go before."""
        return write_block(self._block(), directory, f"rows-{self.first}")

    def _block(self) -> Block:
        return self._rows().block(self.first)

    def _rows(self) -> Arrays:
        loaded = [(part.load().rows(start, stop), numbers) for part, start, stop, numbers in self.parts]
        found = [replace(rows.columns, y=_renumbered(rows.columns.y, numbers)) for rows, numbers in loaded]
        columns = Columns(
            _joined([one.y for one in found], self.held.y),
            _joined([one.sample_weight for one in found], self.held.sample_weight),
            _joined([one.offset for one in found], self.held.offset),
        )
        return Arrays.joined([rows for rows, _ in loaded], columns)


class Spool:
    """A temporary folder in which rows become blocks. ``client``: whose workers may share the work."""

    def __init__(self, folder: Path, pool: Pool, client: Any = None) -> None:
        self.folder = folder
        seen = [] if pool.shares_memory else list(pool.everywhere(partial(folder.is_dir)).values())
        self._is_shared = bool(seen) and all(seen)
        self._client, self._pool = client, pool
        self._made: list[Dataset] = []

    def pieces(self, rows: LazyRows, door: Door) -> list[Piece]:
        """Each chunk through ``door`` (X, y, sample_weight, offset) and into files; chunks without rows are left out.

        Where the workers do not see the folder, the chunks come here, one at a time.
        """
        write = partial(_enter, door, self.folder)
        found = list(rows.each(write, self._client, here=not self._is_shared))
        pieces = [piece for piece in found if piece.n_rows]
        if not pieces:
            raise DataError("X has no rows: all of its chunks are empty; needed at least 1")
        _require_alike(found)
        return pieces

    def dataset(
        self,
        parts: Sequence[Part],
        held: Columns,
        numbers: Sequence[Floats | None],
        names: Sequence[str] | None,
    ) -> Dataset:
        """The blocks of the rows of ``parts``.

        Parameters
        ----------
        held
            Columns of all rows that do not lie in the parts.
        numbers
            For each part what its y is replaced by; None where y is what it is.
        names
            What y = 0, 1, … stands for, where the labels are text.
        """
        pool = self._pool if self._is_shared else ThreadPool(min(_AT_A_TIME, self._pool.n_workers))
        store = self.folder / f"{uuid.uuid4().hex}.blocks"
        with new_store(store) as writer:
            cuts = list(_cuts(parts, held, numbers))
            written = []
            for cut, block in zip(cuts, pool.map(_Cut.written, cuts, writer.directory), strict=True):
                written.append(block)
                for part, _, stop, _ in cut.parts:
                    if stop == part.n_rows:
                        part.drop()
            require_weight(sum(block.entry.weight for block in written))
            writer.commit(written, n_features=parts[0].n_features, classes=names)
        self._made.append(Dataset.open(store))
        return replace(self._made[-1], path=None, digest=None)  # as of arrays: the name of the store says nothing

    def close(self) -> None:
        """Let go of what was made."""
        for data in self._made:
            data.forget()


@contextmanager
def spooling(pool: Pool, client: Any = None) -> Iterator[Spool]:
    """A spool whose folder goes at the end."""
    with atomic.temporary_directory() as folder:
        spool = Spool(folder, pool, client)
        try:
            yield spool
        finally:
            spool.close()


def _enter(door: Door, folder: Path, *rows: Any) -> Piece:
    n_features = int(np.shape(rows[0])[1]) if len(np.shape(rows[0])) == 2 else 0
    if not rows[0].shape[0]:
        return Piece(folder, {}, 0, n_features)
    entered = door(*rows)
    return Piece.written(folder, entered, n_features)


def _require_alike(pieces: Sequence[Piece]) -> None:
    first = next(i for i, piece in enumerate(pieces) if piece.n_rows)
    for i, piece in enumerate(pieces):
        if piece.n_features != pieces[first].n_features:
            raise DataError(
                f"chunk {i} has {piece.n_features} columns and chunk {first} {pieces[first].n_features}; "
                "needed the same in all"
            )
        if piece.n_rows and piece.n_labels != pieces[first].n_labels:
            raise DataError(f"y of chunk {i} has another number of columns than that of chunk {first}")
        if piece.n_rows and piece.names != pieces[first].names:
            raise DataError(f"chunk {i} has columns of other names, or in another order, than chunk {first}")


def _cuts(parts: Sequence[Part], held: Columns, numbers: Sequence[Floats | None]) -> Iterator[_Cut]:
    begins = np.concatenate([[0], np.cumsum([part.n_rows for part in parts])]).tolist()
    for start, stop in pairwise(block_edges(parts)):
        first = int(np.searchsorted(begins, start, side="right")) - 1
        last = int(np.searchsorted(begins, stop, side="left"))
        inside = tuple(
            (parts[i], max(start - begins[i], 0), min(stop, begins[i + 1]) - begins[i], numbers[i])
            for i in range(first, last)
        )
        yield _Cut(start, inside, held.rows(start, stop))


def _renumbered(y: Floats | None, numbers: Floats | None) -> Floats | None:
    return y if y is None or numbers is None else numbers[y.astype(np.intp)]


def _joined(found: Sequence[Floats | None], held: Floats | None) -> Floats | None:
    there = [column for column in found if column is not None]
    return held if not there else np.concatenate(there)
