"""Batches: some rows of a block at a time, in a random order, over the columns that occur in these rows alone.

    the rows of batch b  =  the places b·size … of an order of the block's rows, by a seed, the epoch and the block

The order is the same for any number of workers, and on any of them. A batch costs what its rows cost: nothing is made
of the width of the block, or of a parameter vector. Its columns are numbered as they come, the dense ones of the block
first; ``places`` says where each lies among the features of the data set.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from blockdot.blocks import batch_kernel
from blockdot.blocks.block import Block
from blockdot.blocks.identity import splitmix
from blockdot.blocks.matrix import Floats, Matrix

# Rows that are cut at once, into as many batches as they make: few calls, and what is cut still fits a cache.
_ROWS_A_CUT = 8192
_NOISES = 1 << 62


class Batch(NamedTuple):
    """Some rows; optional arrays are None as in a block."""

    X: Matrix
    places: NDArray[np.int64]
    """Where the columns of X lie among the features of the data set."""
    y: Floats | None
    sample_weight: Floats | None
    offset: Floats | None
    noise: int = 0
    """Names the batch: what is random in learning from it depends on this."""

    @property
    def weight(self) -> float:
        """Σ sᵢ."""
        return float(self.X.n_rows) if self.sample_weight is None else float(np.sum(self.sample_weight))


@dataclass(frozen=True)
class Dealing:
    """How rows are dealt out: ``size`` a batch, in an order by ``seed`` and epoch; without ``shuffle`` in theirs."""

    size: int
    seed: int = 0
    shuffle: bool = True

    def rows(self, n: int, epoch: int, index: int, start: int, stop: int) -> NDArray[np.int64]:
        """Places start … stop − 1 of the order of the n rows of block ``index``."""
        if not self.shuffle:
            return np.arange(start, stop)
        order: NDArray[np.int64] = batch_kernel.shuffled(n, self._key(epoch, index), start, stop)
        return order

    def blocks(self, n_blocks: int, epoch: int) -> NDArray[np.int64]:
        """The order of the blocks themselves."""
        return self.rows(n_blocks, epoch, -1, 0, n_blocks)

    def cuts(self, block: Block, epoch: int, index: int, places_of: Places | None = None) -> Iterator[Cut]:
        """All rows of block ``index``, some batches at a time; the last batch may be smaller."""
        step = self.size * max(_ROWS_A_CUT // self.size, 1)
        for start in range(0, block.n_rows, step):
            stop = min(start + step, block.n_rows)
            rows = self.rows(block.n_rows, epoch, index, start, stop)
            yield cut(block, rows, self.size, self.noise(epoch, index, start), places_of)

    def noise(self, epoch: int, index: int, start: int) -> int:
        """Names the batch that begins at place ``start`` of the order of block ``index``."""
        return (int(self._key(epoch, index)) + start) % _NOISES

    def _key(self, epoch: int, index: int) -> np.uint64:
        key = splitmix(np.array([self.seed], np.uint64))
        for number in (epoch, index + 1):
            key = splitmix(key ^ np.uint64(number))
        return np.uint64(key[0])


@dataclass(frozen=True, eq=False)
class Cut:
    """Rows that are cut into batches of ``size``; iterating makes the batches, which are views."""

    size: int
    rows: Batch
    """All of the rows; their columns are numbered batch by batch, the dense ones first, and so are the places."""
    ends: NDArray[np.int64]
    """Where the places of each batch end."""
    head: NDArray[np.int64]
    """The places of the dense columns, which all batches have."""
    noise: int = 0
    """That of the first batch; the others' follow, by their first rows."""

    def __iter__(self) -> Iterator[Batch]:
        X, places, y, s, o, _ = self.rows
        begin = 0
        for start, end in zip(range(0, max(X.n_rows, 1), self.size), self.ends.tolist(), strict=True):
            rows = slice(start, start + self.size)
            own = places[begin:end] if X.dense is None else np.concatenate([self.head, places[begin:end]])
            part = Matrix(
                X.indptr[start : start + self.size + 1],
                X.indices,
                X.values,
                len(own),
                None if X.dense is None else X.dense[rows],
            )
            yield Batch(part, own, _part(y, rows), _part(s, rows), _part(o, rows), self.noise + start)
            begin = end


def _part(column: Floats | None, rows: slice) -> Floats | None:
    return None if column is None else column[rows]


Places = Callable[[NDArray[np.int64]], NDArray[np.int64]]


def cut(block: Block, rows: NDArray[np.int64], size: int, noise: int = 0, places_of: Places | None = None) -> Cut:
    """The given rows of a block, ``size`` at a time; one batch without rows where none are given.

    ``places_of`` gives the places of features by their ids; by default they are those among the features of the data
    set.
    """
    X, n = block.X, len(rows)
    entries = int(np.sum(X.indptr[rows + 1].astype(np.int64) - X.indptr[rows]))
    indptr, indices = np.empty(n + 1, np.int32), np.empty(entries, np.uint32)
    values = None if X.values is None else np.empty(entries, X.values.dtype)
    columns, ends = np.empty(entries, np.int64), np.zeros(max(-(-n // size), 1), np.int64)
    stamps = _stamps(X.n_columns, entries)
    batch_kernel.renumber(
        X.indptr, X.indices, X.values, rows, size, X.n_dense, stamps.array, stamps.next - entries,
        indptr, indices, values, columns, ends,
    )  # fmt: skip
    matrix = Matrix(indptr, indices, values, X.n_columns, None if X.dense is None else X.dense[rows])
    y, s, o = (None if column is None else column[rows] for column in (block.y, block.sample_weight, block.offset))
    own = columns[: ends[-1]]
    if places_of is None:
        head, places = block.places[: X.n_dense], block.places[own]
    else:
        head, places = places_of(block.columns[: X.n_dense]), places_of(block.columns[own])
    return Cut(size, Batch(matrix, places, y, s, o), ends, head, noise)


class _Stamps(threading.local):
    """A number for each column of the widest block that this thread has cut: when it was last seen."""

    array = np.empty(0, np.int64)
    next = 0


_of_thread = _Stamps()


def _stamps(width: int, count: int) -> _Stamps:
    """The stamps, at least ``width`` of them, and ``count`` new numbers, which end below ``next``."""
    stamps = _of_thread
    if len(stamps.array) < width:
        stamps.array = np.full(max(width, 2 * len(stamps.array)), -1, np.int64)
    stamps.next += count
    return stamps


class Table:
    """Parameter vectors of one layout side by side: feature by feature (k, S, width), and their tails (S, tail).

    What belongs to one feature lies together, so that taking it out is one access to memory. Written to in place.
    """

    def __init__(self, rows: Floats, tail: Floats) -> None:
        self.rows, self.tail = rows, tail

    @classmethod
    def of(cls, vectors: Sequence[Floats], width: int, tail: int) -> Table:
        """A copy of the vectors, each flat: ``width`` numbers a feature, then ``tail`` numbers."""
        stop = len(vectors[0]) - tail
        rows = np.stack([v[:stop].reshape(-1, width) for v in vectors], axis=1)
        return cls(rows, np.stack([v[stop:] for v in vectors]))

    def grow(self, n_features: int, fill: Sequence[float]) -> None:
        """Make room for so many features, for about twice as many; of each new one vector s is ``fill[s]``."""
        k, *shape = self.rows.shape
        if n_features > k:
            rows = np.empty((2 * n_features, *shape))
            rows[:k] = self.rows
            rows[k:] = np.asarray(fill)[:, np.newaxis]
            self.rows = rows

    def vector(self, s: int) -> Floats:
        """Vector number s, flat, a copy."""
        return np.concatenate([self.rows[:, s].ravel(), self.tail[s]])

    def take(self, places: NDArray[np.int64]) -> Floats:
        """(S, m width + tail): the parts of the vectors that belong to the features at ``places``, and their tails."""
        stop = len(places) * self.rows.shape[2]
        out = np.empty((len(self.tail), stop + self.tail.shape[1]))
        batch_kernel.take(self.rows, places, out)
        out[:, stop:] = self.tail
        return out

    def put(self, places: NDArray[np.int64], own: Floats, count: int) -> None:
        """Put the parts of the first ``count`` vectors back."""
        stop = len(places) * self.rows.shape[2]
        batch_kernel.put(own, places, count, self.rows)
        self.tail[:count] = own[:count, stop:]
