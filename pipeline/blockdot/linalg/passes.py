"""Passes: what is done with one block, tile by tile.

    Times              A_b W                     rows of a product, complete
    TransposedTimes    X_bᵀ R_b                  a part of a sum over rows
    Normal             A_bᵀ A_b V                both in one reading of the block
    SparseTimes        X_b S,  S sparse          rows of a product, complete
    SparseTransposed   X_bᵀ S_b, S sparse        a part of a sum over rows
    RowInner           Σⱼ xᵢⱼ yᵢⱼ qⱼ             for each row, Y another data set

where A_b = diag(r_b) X_b − U_b T and T (q, K) is what the driver knows of the low-rank part (view.py). What belongs to
the rows of a block is handed out to it alone (blocks/sums.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from blockdot.blocks.block import Block
from blockdot.blocks.layout import FeatureSum, Layout
from blockdot.blocks.matrix import Floats, Matrix
from blockdot.blocks.sums import Source
from blockdot.linalg.arithmetic import Arithmetic, Plain, entries
from blockdot.linalg.sparse import Sparse, csr, row_numbers, scale_rows, stacked

_NO_TAIL = np.empty(0)


class RowPart(NamedTuple):
    """What a view has for the rows of one block: factors (n,) and the left part of the low-rank matrix (n, q)."""

    factor: Floats | None
    left: Floats | None


@dataclass(frozen=True)
class Times:
    """A_b W, (n_b, width), for the vector (W | T) over the features; with ``squared`` X∘X in the place of X."""

    arithmetic: Arithmetic
    width: int
    rank: int = 0
    squared: bool = False

    @property
    def layout(self) -> Layout:
        return Layout(self.width, self.rank * self.width)

    def __call__(self, block: Block, vector: Floats, own: RowPart) -> Floats:
        w, t = self.layout.split(vector)
        out, t = np.empty((block.n_rows, self.width)), t.reshape(self.rank, self.width)
        for start, stop, tile in tiles(block):
            out[start:stop] = self.arithmetic.dot(tile.squared() if self.squared else tile, w)
            _view_rows(out[start:stop], own, t, start, stop)
        return out


@dataclass(frozen=True, eq=False)
class TransposedTimes:
    """The folds of X_bᵀ R_b for the rows R_b (n_b, width) that are handed out."""

    arithmetic: Arithmetic
    width: int
    factor: Floats
    squared: bool = False

    layout = Layout()
    """Of the bounds over the features that some arithmetic wants."""

    @property
    def sum_layout(self) -> Layout:
        return Layout(self.width * self.arithmetic.folds)

    def __call__(self, block: Block, *given: Floats) -> FeatureSum:
        *bounds, r = given
        out = np.zeros((len(block.columns), self.sum_layout.width))
        for start, stop, tile in tiles(block):
            part = tile.squared() if self.squared else tile
            self.arithmetic.add_tdot(part, r[start:stop], out, self.factor, *bounds)
        return FeatureSum.of(block, out.ravel(), self.sum_layout)


@dataclass(frozen=True)
class Normal:
    """(X_bᵀ diag(r_b) A_b V | U_bᵀ A_b V) for the vector (V | T): a tile is read from memory once for both products."""

    width: int
    rank: int = 0

    @property
    def layout(self) -> Layout:
        return Layout(self.width, self.rank * self.width)

    def __call__(self, block: Block, vector: Floats, own: RowPart) -> FeatureSum:
        v, t = self.layout.split(vector)
        t, plain = t.reshape(self.rank, self.width), Plain()
        out, tail = np.zeros_like(v), np.zeros_like(t)
        for start, stop, tile in tiles(block):
            z = plain.dot(tile, v)
            _view_rows(z, own, t, start, stop)
            if own.left is not None:
                tail += np.einsum("iq,ic->qc", own.left[start:stop], z)
            if own.factor is not None:
                z *= own.factor[start:stop, np.newaxis]
            plain.add_tdot(tile, z, out, np.ones(self.width))
        return FeatureSum.of(block, np.concatenate([out.ravel(), tail.ravel()]), self.layout)


@dataclass(frozen=True, eq=False)
class SparseTimes:
    """X_b S, sparse, for S (k, m) over the features that occur, times the factor of each row."""

    arithmetic: Arithmetic
    S: Sparse

    layout = Layout()

    def __call__(self, block: Block, factor: Floats | None) -> Sparse:
        local = csr(self.S[block.places])
        parts = [self.arithmetic.product(entries(tile), local) for _, _, tile in tiles(block)]
        whole = stacked(parts, self.S.shape[1])
        scale_rows(whole, factor)
        return whole


@dataclass(frozen=True, eq=False)
class SparseTransposed:
    """The folds of X_bᵀ S_b for sparse rows S_b (n_b, m) that are handed out: a sum over the k · m pairs."""

    arithmetic: Arithmetic
    bound: Floats
    """(m,) powers of two above the largest number in each column of S."""

    layout = Layout()

    def __call__(self, block: Block, *given: Any) -> FeatureSum:
        *bounds, s = given
        pairs = PairSum(block.n_features * s.shape[1], self.arithmetic.folds)
        a_bound = bounds[0] if bounds else np.ones(len(block.columns))
        for start, stop, tile in tiles(block):
            found = self.arithmetic.pairs(entries(tile), s[start:stop], a_bound, self.bound)
            pairs.add(block.places[found.keys // s.shape[1]], found.keys % s.shape[1], s.shape[1], found.values)
        return pairs.total


class PairSum:
    """A sum over pairs (a, b) of a place and a column, under the key a · columns + b."""

    def __init__(self, n_keys: int, folds: int) -> None:
        self.total = FeatureSum.made(np.empty(0, np.int64), np.empty((0, folds)), _NO_TAIL, n_keys)

    def add(self, a: NDArray[np.int64], b: NDArray[np.int64], columns: int, values: Floats) -> None:
        """Add ``values`` (m, folds) at the pairs, each of which is there once."""
        keys = a * columns + b
        order = np.argsort(keys)
        self.total += FeatureSum.made(keys[order], values[order], _NO_TAIL, self.total.n_features)


@dataclass(frozen=True, eq=False)
class RowInner:
    """Σⱼ xᵢⱼ yᵢⱼ qⱼ for each row i of a block and its row in another data set, whose blocks may be cut elsewhere."""

    arithmetic: Arithmetic
    other: Source
    starts: NDArray[np.int64]
    """The number of the first row of each block of the other, and how many there are."""

    layout = Layout()

    def __call__(self, block: Block, q: Floats, first_row: int) -> Floats:
        out, order = np.empty(block.n_rows), np.argsort(block.columns)
        for start, stop, tile in tiles(block):
            y = self._rows(first_row + start, first_row + stop, block.columns[order], order)
            both = csr(entries(tile).multiply(y))
            values = np.asarray(both.data, np.float64)
            X = Matrix(both.indptr.astype(np.int32), both.indices.astype(np.uint32), values, tile.n_columns)
            out[start:stop] = self.arithmetic.dot(X, q[:, np.newaxis])[:, 0]
        return out

    def _rows(self, start: int, stop: int, ids: NDArray[np.int64], place: NDArray[np.int64]) -> Sparse:
        """The rows start … stop−1 of the other; column ``place[i]`` for the feature ``ids[i]``, others left out."""
        parts = []
        for index in range(int(np.searchsorted(self.starts, start, "right")) - 1, len(self.starts) - 1):
            first = int(self.starts[index])
            if first >= stop:
                break
            block = self.other.block(index)
            rows = entries(block.X.rows(max(start - first, 0), min(stop - first, block.n_rows)))
            at = np.minimum(np.searchsorted(ids, block.columns), len(ids) - 1) if len(ids) else np.zeros(0, np.int64)
            kept = np.flatnonzero(ids[at] == block.columns) if len(ids) else np.zeros(0, np.int64)
            chosen = rows[:, kept].tocoo()
            columns = place[at[kept]][chosen.col]
            parts.append(csr((chosen.data, (chosen.row, columns)), (rows.shape[0], len(ids))))
        return stacked(parts, len(ids))


class LargestInRows:
    """(n_b, 1) maxⱼ |xᵢⱼ cⱼ|."""

    layout = Layout()

    def __call__(self, block: Block, c: Floats) -> Floats:
        out = np.zeros((block.n_rows, 1))
        for start, stop, tile in tiles(block):
            rows = entries(tile)
            np.maximum.at(out[start:stop, 0], row_numbers(rows), np.abs(rows.data * c[rows.indices]))
        return out


def tiles(block: Block) -> Iterator[tuple[int, int, Matrix]]:
    """The block's tiles, with the range of rows of each."""
    stop = 0
    for tile in block.tiles():
        start, stop = stop, stop + tile.n_rows
        yield start, stop, tile.X


def _view_rows(z: Floats, own: RowPart, t: Floats, start: int, stop: int) -> None:
    """z ← diag(r) z − U T, in the order of q."""
    if own.factor is not None:
        z *= own.factor[start:stop, np.newaxis]
    if own.left is not None:
        for q in range(len(t)):
            z -= own.left[start:stop, q, np.newaxis] * t[q]
