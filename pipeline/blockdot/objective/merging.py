"""The features of one row, seen as one: shorter vectors, and the same minimum under an L2 penalty.

    sᵢ² = Σⱼ xᵢⱼ²,   θᵢ = Σⱼ xᵢⱼ wⱼ / sᵢ,   wⱼ = θᵢ xᵢⱼ / sᵢ        over the features j of row i that no other row has

All that they do to zᵢ is to add sᵢ θᵢ. Of all w that add as much the shortest lies along x, and the penalty asks for
it; from w = 0, gradients lie along x, too. So each row's are one feature of value sᵢ: a rotation of the parameters,
less those that would stay 0. Values, the gradients in the other parameters, and norms stay what they are.

More than two fifths of the words of a text collection occur once. Where a feature has many parameters, vectors over the
features are most of what a step costs, and a third of it goes (docs/design.md). The blocks are copied, so this is for
data that are not large.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from blockdot.blocks.block import Block, numbers
from blockdot.blocks.layout import Layout
from blockdot.blocks.matrix import Floats, Matrix
from blockdot.blocks.merge_kernel import find_entries, merge_rows
from blockdot.blocks.sums import Blocks, RowPass, View
from blockdot.blocks.table import FeatureTable
from blockdot.buffers import empty
from blockdot.errors import DataError

_SHARE = 0.25
"""Of all features, how many must go for the copy to be worth it."""

_MOST = 0.4
"""Of all features, how many must occur in a block for vectors over all of them to be its own: where the rows are wide,
to pick out its rows and to add them to the others costs more than the rows that it has not (docs/design.md)."""
_IN_FULL = 0.25
"""Of the sparse entries of a block, as many at most may be stored in full: as sparse ones they are slower."""

_COUNTS = "the table of features does not count them as the blocks have them: ingest the data again"

Integers = NDArray[np.int64]


class Merging(Protocol):
    """How parameters of the features of a data set go with those of the blocks."""

    def outward(self, w: Floats, layout: Layout) -> Floats:
        """Parameters of the data set from those of the blocks."""
        ...

    def inward(self, w: Floats, layout: Layout) -> Floats:
        """Parameters of the blocks from those of the data set: of all that give these z, the shortest."""
        ...


class Unmerged:
    """The blocks have the features of the data set."""

    def outward(self, w: Floats, layout: Layout) -> Floats:  # noqa: ARG002
        """W itself."""
        return w

    def inward(self, w: Floats, layout: Layout) -> Floats:  # noqa: ARG002
        """W itself."""
        return w


@dataclass(frozen=True, eq=False)
class Merged:
    """The features from ``first`` on, which occur in one row each, are merged into those of their rows."""

    first: int
    owner: Integers
    """The merged feature of each, counted from ``first``."""
    share: Floats
    """xᵢⱼ/sᵢ of each."""

    def outward(self, w: Floats, layout: Layout) -> Floats:
        rows, tail = layout.split(w)
        out: Floats = empty(layout.size(self.first + len(self.owner)))
        ours, own_tail = layout.split(out)
        ours[: self.first], own_tail[:] = rows[: self.first], tail
        single = ours[self.first :]
        np.take(rows, self.first + self.owner, axis=0, out=single, mode="clip")  # no copy between
        single *= self.share[:, np.newaxis]
        return out

    def inward(self, w: Floats, layout: Layout) -> Floats:
        rows, tail = layout.split(w)
        theta = np.zeros((int(self.owner.max(initial=-1)) + 1, layout.width))
        np.add.at(theta, self.owner, rows[self.first :] * self.share[:, np.newaxis])
        return np.concatenate([rows[: self.first].ravel(), theta.ravel(), tail])


@contextmanager
def merged(blocks: Blocks, table: FeatureTable) -> Iterator[tuple[Blocks, Merging]]:
    """The blocks with the features of one row merged, where a quarter of all features goes by it; else as they are.

    ``table`` lists the features of the blocks. Not for more than a plain L2 penalty: it must treat all of them alike.
    Raises DataError for a table whose counts are not those of the blocks.
    """
    if not are_many(table):
        yield blocks, Unmerged()
        return
    k, single = len(table), _singles(table)
    first = k - single  # they are the last ones: the most frequent come first
    found = list(blocks.map(Find(first)))
    starts = np.concatenate([[0], np.cumsum([each.merged for each in found])])
    if single - starts[-1] < _SHARE * k:
        yield blocks, Unmerged()
        return
    owner, share = np.zeros(single, np.int64), np.zeros(single)
    for start, each in zip(starts, found, strict=False):
        owner[each.positions - first] = start + each.owner
        share[each.positions - first] = each.share
    if sum(len(each.positions) for each in found) != single:
        raise DataError(_COUNTS)
    source = MergedSource(blocks.source, first, tuple(starts.tolist()))
    with blocks.view(source) as view:
        yield view, Merged(first, owner, share)


def are_many(table: FeatureTable) -> bool:
    """Whether so many features occur in one row each that merging may be worth it."""
    return _singles(table) > 0 and _singles(table) >= _SHARE * len(table)


def _singles(table: FeatureTable) -> int:
    return int(np.count_nonzero(table.count == 1))


class Found(NamedTuple):
    """The features of a block that occur in one row: where they are, their merged feature there, and xᵢⱼ/sᵢ."""

    positions: Integers
    owner: Integers
    share: Floats
    merged: int
    """How many merged features the block has."""


@dataclass(frozen=True)
class Find(RowPass):
    """The features of a block from position ``first`` on."""

    first: int

    def __call__(self, block: Block) -> Found:
        ones = _Ones.of(block, self.first)
        size = ones.size[ones.row]
        share = np.divide(ones.value, size, out=np.zeros_like(size), where=size > 0.0)
        owner = np.cumsum(ones.has) - 1
        return Found(block.places[ones.column], owner[ones.row], share, int(np.count_nonzero(ones.has)))


@dataclass(frozen=True, eq=False)
class MergedSource(View):
    """The blocks of ``source`` with the features from ``first`` on merged."""

    first: int
    starts: Sequence[int]
    """How many merged features there are before each block, and in all."""

    @property
    def n_features(self) -> int:
        return self.first + self.starts[-1]

    def block(self, index: int) -> Block:
        """Block ``index``, a copy: its values are float64, for sᵢ is a root."""
        block = self.source.block(index)
        X, ones, kept = block.X, _Ones.of(block, self.first), block.places < self.first
        own = self.first + self.starts[index] + np.arange(np.count_nonzero(ones.has))
        positions = np.concatenate([block.places[kept], own])
        if self._has_most(X, len(positions)):  # its columns are the features, in the order of the data set
            X, number, first = X.sparse(), np.where(kept, block.places, -1), self.first + self.starts[index]
            positions = numbers(self.n_features)
        else:
            number, first = np.where(kept, np.cumsum(kept) - 1, -1), len(positions) - len(own)
        size = int(X.indptr[-1]) - int(X.indptr[0]) - len(ones.row) + len(own)
        indptr, indices, values = np.zeros(X.n_rows + 1, np.int32), np.empty(size, np.uint32), np.empty(size)
        merge_rows(X.indptr, X.indices, X.values, number, ones.has, ones.size, first, indptr, indices, values)
        matrix = Matrix(indptr, indices, values, len(positions), X.dense)
        copied = replace(block, X=matrix, columns=positions).placed(positions, self.n_features)
        places = 0 if copied.in_order else 2 * positions.nbytes  # and their order; one array for all blocks in order
        return replace(copied, copied=values.nbytes + indices.nbytes + indptr.nbytes + places)

    def _has_most(self, X: Matrix, occurring: int) -> bool:
        """Whether so many of the features occur in a block, and so little of it is stored in full, that it has all."""
        in_full = X.n_rows * X.n_dense
        return occurring >= _MOST * self.n_features and in_full <= _IN_FULL * (int(X.indptr[-1]) - int(X.indptr[0]))


class _Ones(NamedTuple):
    """The entries of a block that are the only ones of their features, row by row, and what they are in each row."""

    column: Integers
    row: Integers
    value: Floats
    has: NDArray[np.bool_]
    """Whether a row has such."""
    size: Floats
    """sᵢ."""

    @classmethod
    def of(cls, block: Block, first: int) -> _Ones:
        X, is_one = block.X, block.places >= first
        n = int(np.count_nonzero(is_one))
        column, row, value = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n)
        if find_entries(X.indptr, X.indices, X.values, is_one, column, row, value) != n or np.any(is_one[: X.n_dense]):
            raise DataError(_COUNTS)
        largest = np.zeros(X.n_rows)
        np.maximum.at(largest, row, np.abs(value))
        scale = np.where(largest > 0.0, largest, 1.0)  # so that no square overflows
        squares = np.bincount(row, (value / scale[row]) ** 2, X.n_rows)
        return cls(column, row, value, np.bincount(row, minlength=X.n_rows) > 0, scale * np.sqrt(squares))
