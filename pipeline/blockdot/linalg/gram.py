"""Inner products of all pairs of columns, AᵀDA, or of rows, A Aᵀ: dense for a few, or those of at least a threshold.

    few columns    one dense sum over the blocks
    many columns   the pairs (a, b) with a in a range of columns and b ≥ a, summed sparsely; a reading of the data for
                   each range, the ranges so narrow that what is held stays below 2²⁴ pairs; then the threshold
    rows           A (512 rows of A)ᵀ, complete in each block, which keeps what reaches the threshold; a reading of the
                   blocks before for each 512 rows

Columns are taken by their frequency, so the ranges of the rare ones are wide.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from blockdot.blocks.block import Block
from blockdot.blocks.layout import FeatureSum, Layout
from blockdot.blocks.matrix import Floats
from blockdot.linalg.arithmetic import Arithmetic, Plain, entries
from blockdot.linalg.passes import PairSum, tiles
from blockdot.linalg.rows import power_above
from blockdot.linalg.sparse import Sparse, coo, csr, empty, scale_columns, scale_rows, stacked
from blockdot.linalg.view import View

Ints = NDArray[np.int64]

_PAIRS = 1 << 24
_ROWS = 512


class Pairs(NamedTuple):
    """Entries (a, b) of a symmetric matrix, a ≤ b, each once."""

    a: Ints
    b: Ints
    values: Floats

    @classmethod
    def joined(cls, parts: list[Pairs]) -> Pairs:
        """The entries of all parts."""
        nothing = cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
        return cls(*(np.concatenate(arrays) for arrays in zip(nothing, *parts, strict=True)))

    def at_least(self, threshold: float) -> Pairs:
        """Those of at least ``threshold`` in size, and not 0."""
        kept = (np.abs(self.values) >= threshold) & (self.values != 0)
        return Pairs(self.a[kept], self.b[kept], self.values[kept])

    def matrix(self, place: Ints | None, size: int) -> Sparse:
        """Symmetric, with the entry of (a, b) at (place[a], place[b]) and the other way round."""
        a, b = (self.a, self.b) if place is None else (place[self.a], place[self.b])
        off = a != b
        rows, columns = np.concatenate([a, b[off]]), np.concatenate([b, a[off]])
        return csr((np.concatenate([self.values, self.values[off]]), (rows, columns)), (size, size))


class PairCounts:
    """How many pairs each column is in: Σ over the rows that have it of their number of entries."""

    layout = Layout()

    def __call__(self, block: Block) -> FeatureSum:
        counts = np.zeros(len(block.columns))
        for _, _, tile in tiles(block):
            rows = entries(tile)
            length = np.diff(rows.indptr)
            counts += np.bincount(rows.indices, np.repeat(length, length), len(counts))
        return FeatureSum.of(block, counts, self.layout)


@dataclass(frozen=True)
class ColumnPairs:
    """The folds of Σᵢ dᵢ xᵢₐ xᵢᵦ for the positions a in lo … hi−1 and b ≥ a, under the keys (a − lo) k + b."""

    arithmetic: Arithmetic
    lo: int
    hi: int
    bound: float
    """A power of two above every |d|."""

    layout = Layout()

    def __call__(self, block: Block, *given: Floats | None) -> FeatureSum:
        *vectors, d = given
        bounds, at, k = vectors[0] if vectors else np.ones(len(block.columns)), block.places, block.n_features
        assert bounds is not None
        left, right = np.flatnonzero((at >= self.lo) & (at < self.hi)), np.flatnonzero(at >= self.lo)
        sums = PairSum((self.hi - self.lo) * k, self.arithmetic.folds)
        for start, stop, tile in tiles(block):
            rows = entries(tile)
            some, others = csr(rows[:, left]), csr(rows[:, right])
            scale_rows(some, None if d is None else d[start:stop])
            found = self.arithmetic.pairs(some, others, self.bound * bounds[left], bounds[right])
            a, b = at[left[found.keys // len(right)]], at[right[found.keys % len(right)]]
            once = b >= a
            sums.add(a[once] - self.lo, b[once], k, found.values[once])
        return sums.total


class Own(NamedTuple):
    """What belongs to the rows of one block: the number of the first, and their factors."""

    first_row: int
    factor: Floats | None


@dataclass(frozen=True, eq=False)
class RowPairs:
    """The pairs of a row of a block and one of the rows lo, lo + 1, …, not before it, of at least ``threshold``."""

    arithmetic: Arithmetic
    others: Sparse
    """(k, m): the rows lo … lo + m − 1, with all that the columns are scaled by."""
    lo: int
    threshold: float

    layout = Layout()

    def __call__(self, block: Block, own: Own) -> Pairs:
        local, done = csr(self.others[block.places]), []
        for start, _, tile in tiles(block):
            found = coo(self.arithmetic.product(entries(tile), local))
            values = found.data if own.factor is None else found.data * own.factor[start + found.row]
            a, b = found.row + np.int64(own.first_row + start), found.col + np.int64(self.lo)
            once = a <= b
            done.append(Pairs(a[once], b[once], values[once]).at_least(self.threshold))
        return Pairs.joined(done)


class DenseGram:
    """Σᵢ dᵢ xᵢ xᵢᵀ over all features that occur, one of the two entries of each pair."""

    layout = Layout()

    def __call__(self, block: Block, d: Floats | None) -> Floats:
        out = np.zeros((block.n_features, block.n_features))
        for start, stop, tile in tiles(block):
            tile.add_gram(block.places, np.ones(tile.n_rows) if d is None else d[start:stop], out)
        return out


def of_columns(A: View, weights: Floats | None) -> Floats:
    """AᵀDA, (k, k) dense over the features that occur, for D = diag(weights)."""
    G = _sparse_part(A.sparse_part, weights)
    if A.left is not None and A.right is not None:  # of A = Ā − U Mᵀ: ĀᵀDĀ − (ĀᵀDU)Mᵀ − M(ĀᵀDU)ᵀ + M(UᵀDU)Mᵀ
        left = A.left if weights is None else A.left * weights[:, np.newaxis]
        cross = np.einsum("jq,lq->jl", A.sparse_part.transposed_times(left), A.right)
        inner = np.einsum("iq,ip->qp", left, A.left)
        G = _less(G, cross, np.einsum("jq,lq->jl", A.right, np.einsum("lp,qp->lq", A.right, inner)))
    return G


def _sparse_part(A: View, weights: Floats | None) -> Floats:
    k = A.rows.n_occurring
    if not isinstance(A.arithmetic, Plain):
        return np.asarray(of_column_pairs(A, weights, 0.0).matrix(None, k).toarray())
    if not A.rows.data.block_rows:
        return np.zeros((k, k))
    with A.rows.data.on(A.rows.pool) as blocks:
        half = blocks.sum(DenseGram(), each=A.rows.cut(_row_weights(A, weights)))
    G = half + half.T
    np.fill_diagonal(G, np.diag(half))
    return G if A.c is None else G * (A.c[:, np.newaxis] * A.c)


def of_column_pairs(A: View, weights: Floats | None, threshold: float) -> Pairs:
    """The entries of AᵀDA of at least ``threshold`` in size; a and b are positions among the features that occur."""
    A.refuse_centred("a sparse matrix of inner products")
    d, k, done = _row_weights(A, weights), A.rows.n_occurring, []
    bound = 1.0 if d is None else float(power_above(np.max(np.abs(d), initial=0.0, keepdims=True))[0])
    for lo, hi in _ranges(A.rows.sum(PairCounts(), like=Layout()), k):
        task, bounds = ColumnPairs(A.arithmetic, lo, hi, bound), A.arithmetic.bounds(A.rows)
        total = A.rows.folded(task, *bounds, each=A.rows.cut(d))
        assert total is not None
        keys = np.arange(len(total.rows)) if total.positions is None else total.positions
        a, b, values = keys // k + lo, keys % k, A.arithmetic.total(total.rows)[:, 0]
        done.append(Pairs(a, b, values if A.c is None else values * (A.c[a] * A.c[b])).at_least(threshold))
    return Pairs.joined(done)


def of_row_pairs(A: View, threshold: float) -> Pairs:
    """The entries of A Aᵀ of at least ``threshold`` in size; a and b are numbers of rows."""
    A.refuse_centred("a sparse matrix of inner products")
    rows, done = A.rows, []
    each = [Own(first, r) for first, r in zip(rows.starts[:-1].tolist(), rows.cut(A.r), strict=True)]
    for lo in range(0, rows.n_rows, _ROWS):
        others = some_rows(A, lo, min(lo + _ROWS, rows.n_rows))
        scale_columns(others, A.c)
        task = RowPairs(A.arithmetic, csr(others.T), lo, threshold)
        before = range(int(np.searchsorted(rows.starts[:-1], lo + others.shape[0])))
        done += list(rows.map(task, each=each, ids=before))
    return Pairs.joined(done)


def of_rows(A: View) -> Floats:
    """A Aᵀ, (n, n) dense."""
    n = A.rows.n_rows
    G = np.asarray(of_row_pairs(A.sparse_part, 0.0).matrix(None, n).toarray())
    if A.left is not None and A.right is not None:  # of A = Ā − U Mᵀ: ĀĀᵀ − (ĀM)Uᵀ − U(ĀM)ᵀ + U(MᵀM)Uᵀ
        cross = np.einsum("iq,lq->il", A.sparse_part.times(A.right), A.left)
        inner = np.einsum("jq,jp->qp", A.right, A.right)
        G = _less(G, cross, np.einsum("iq,lq->il", A.left, np.einsum("lp,qp->lq", A.left, inner)))
    return G


def _less(G: Floats, cross: Floats, low: Floats) -> Floats:
    """G − cross − crossᵀ + low, symmetric to the last bit."""
    return G - (cross + cross.T) + 0.5 * (low + low.T)


def some_rows(A: View, lo: int, hi: int) -> Sparse:
    """The rows lo … hi−1 of A over the features that occur, without what is taken off; in this process."""
    starts = A.rows.starts
    first, last = int(np.searchsorted(starts, lo, "right")) - 1, int(np.searchsorted(starts[:-1], hi))
    parts = [empty(0, A.rows.n_occurring)]
    with A.rows.data.on(A.rows.pool) as blocks:
        for index in range(max(first, 0), last):
            (block,), start = blocks.take([index]), int(starts[index])
            found = coo(entries(block.X.rows(max(lo - start, 0), min(hi - start, block.n_rows))))
            at = (found.row, block.places[found.col])
            parts.append(csr((found.data, at), (found.shape[0], A.rows.n_occurring)))
    whole = stacked(parts, A.rows.n_occurring)
    scale_rows(whole, None if A.r is None else A.r[lo:hi])
    scale_columns(whole, A.c)
    return whole


def _row_weights(A: View, weights: Floats | None) -> Floats | None:
    """D and what the rows of A are scaled by."""
    if A.r is None:
        return weights
    return np.square(A.r) if weights is None else np.square(A.r) * weights


def _ranges(counts: Floats, k: int) -> Iterator[tuple[int, int]]:
    """Ranges of positions with few pairs each, or of one position."""
    start, held = 0, 0.0
    for position, count in enumerate(np.minimum(counts, k).tolist()):
        if held + count > _PAIRS and position > start:
            yield start, position
            start, held = position, 0.0
        held += count
    if k > start:
        yield start, k
