"""How inner products are added up: in the order that is fastest, or so that the order makes no difference.

    Plain    the compiled products as they are. The order of the additions is that of the blocks, their rows, and the
             columns of each block: the same bits on any number of workers, and other last bits for another cut.
    Binned   each term is cut into parts on fixed grids, whose sums are exact (blocks/binned_kernel.py): the same bits
             for any cut into blocks, and any order of rows' entries.

Sums within a row see all of their terms at once, so the grids of Binned fit the largest term of each sum: what is lost
of a term is below 2⁻⁷⁹ of it. Sums over rows are met in parts, so their grids fit a bound that is known beforehand,
cⱼ fₖ for the terms xᵢⱼ uᵢₖ with powers of two cⱼ > |xᵢⱼ| and fₖ > |uᵢₖ|, for all i: what is lost of a term is below
2⁻⁸⁰ cⱼ fₖ, and a sum is as good as float64 additions unless all of its terms are some 2²⁷ times smaller than that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from blockdot.blocks import binned_kernel, rows_kernel
from blockdot.blocks.matrix import Floats, Matrix
from blockdot.errors import DataError, SpecError
from blockdot.linalg.rows import Rows, power_above
from blockdot.linalg.sparse import Sparse, csr, row_numbers, stacked

Ints = NDArray[np.int64]

# Bits below the bound of a term that no fold may lose.
_BITS = 80
# Terms of a product of two sparse matrices that are written out at the same time.
_TERMS = 1 << 20


class Pairs(NamedTuple):
    """Sparse partial sums: ``values`` (m, F), the folds of the entry at ``keys``, ascending."""

    keys: Ints
    values: Floats


class Arithmetic(Protocol):
    """What one tile contributes; picklable."""

    @property
    def folds(self) -> int:
        """F, the numbers that stand for one sum over rows."""
        ...

    def bounds(self, rows: Rows) -> tuple[Floats, ...]:
        """The vectors over the features that sums over rows want to know."""
        ...

    def check(self, w: Floats) -> None:
        """DataError for an operand that cannot be added up."""
        ...

    def factor(self, u: Floats, *bounds: Floats) -> Floats:
        """(K,) what sums over rows with u (n, K) want to know of it."""
        ...

    def dot(self, X: Matrix, w: Floats) -> Floats:
        """X W, (n, K)."""
        ...

    def add_tdot(self, X: Matrix, u: Floats, out: Floats, factor: Floats, *bounds: Floats) -> None:
        """Add the folds of Xᵀ U to ``out`` (k, F·K)."""
        ...

    def total(self, folds: Floats) -> Floats:
        """(m, K) the sums, from their folds (m, F·K)."""
        ...

    def product(self, a: Sparse, b: Sparse) -> Sparse:
        """A B, a sum within each row of A."""
        ...

    def pairs(self, a: Sparse, b: Sparse, a_bound: Floats, b_bound: Floats) -> Pairs:
        """The folds of Aᵀ B, sums over rows, at the keys (column of A) · (columns of B) + (column of B)."""
        ...


@dataclass(frozen=True)
class Plain:
    """Float64 additions in the order of the rows and of the block's columns."""

    folds = 1

    def bounds(self, rows: Rows) -> tuple[Floats, ...]:  # noqa: ARG002
        return ()

    def check(self, w: Floats) -> None:
        """NaN and infinity go through the sums as they do in NumPy."""

    def factor(self, u: Floats, *bounds: Floats) -> Floats:  # noqa: ARG002
        return np.ones(u.shape[1])

    def dot(self, X: Matrix, w: Floats) -> Floats:
        """One vector has kernels of its own."""
        return X.dot(w[:, 0])[:, np.newaxis] if w.shape[1] == 1 else X.dot(w)

    def add_tdot(self, X: Matrix, u: Floats, out: Floats, factor: Floats, *bounds: Floats) -> None:  # noqa: ARG002
        if u.shape[1] == 1:
            X.add_tdot(np.ascontiguousarray(u[:, 0]), out[:, 0])
        else:
            X.add_tdot(u, out)

    def total(self, folds: Floats) -> Floats:
        return folds

    def product(self, a: Sparse, b: Sparse) -> Sparse:
        return csr(a @ b)

    def pairs(self, a: Sparse, b: Sparse, a_bound: Floats, b_bound: Floats) -> Pairs:  # noqa: ARG002
        found = csr(a.T @ b)
        found.sort_indices()
        length = np.diff(found.indptr)
        keys = np.repeat(np.arange(a.shape[1], dtype=np.int64), length) * b.shape[1] + found.indices
        return Pairs(keys, np.asarray(found.data, np.float64)[:, np.newaxis])


@dataclass(frozen=True)
class Binned:
    """Sums of at most ``terms`` rows on fixed grids."""

    terms: int

    @property
    def lost(self) -> int:
        """L: the bits of a float64 that the additions need for carries."""
        return max(self.terms, 1).bit_length() + 1

    @property
    def folds(self) -> int:
        return -(-_BITS // (53 - self.lost))

    @property
    def shrink(self) -> float:
        """How much finer each grid is than the one before."""
        return float(np.ldexp(1.0, self.lost - 53))

    def bounds(self, rows: Rows) -> tuple[Floats, ...]:
        return (rows.ceilings,)

    def check(self, w: Floats) -> None:
        bad = np.argwhere(~np.isfinite(w))
        if len(bad):
            place = ", ".join(str(i) for i in bad[0])
            raise DataError(f"[{place}] of the other factor is NaN or infinite; reproducible sums need finite numbers")

    def factor(self, u: Floats, *bounds: Floats) -> Floats:
        """The σ of the first fold, but for the bound of the feature."""
        self.check(u)
        largest = np.max(np.abs(u), axis=0, initial=0.0)
        with np.errstate(over="ignore"):
            grid = np.ldexp(power_above(largest), self.lost)
            if not np.all(np.isfinite(np.max(grid, initial=0.0) * np.max(bounds, initial=0.0))):
                raise SpecError("the other factor is too large for reproducible sums: scale it down first")
        return grid

    def dot(self, X: Matrix, w: Floats) -> Floats:
        out = np.empty((X.n_rows, w.shape[1]))
        binned_kernel.dot(X.indptr, X.indices, X.values, X.dense, np.ascontiguousarray(w), out)
        return out

    def add_tdot(self, X: Matrix, u: Floats, out: Floats, factor: Floats, *bounds: Floats) -> None:
        (ceiling,) = bounds
        folds = out.reshape(len(out), self.folds, u.shape[1])
        u = np.ascontiguousarray(u)
        binned_kernel.add_tdot(X.indptr, X.indices, X.values, X.dense, u, ceiling, factor, self.shrink, folds)

    def total(self, folds: Floats) -> Floats:
        """From the finest grid to the coarsest."""
        parts = folds.reshape(len(folds), self.folds, folds.shape[1] // self.folds)
        out = parts[:, -1].copy()
        for f in range(self.folds - 2, -1, -1):
            out += parts[:, f]
        return out

    def product(self, a: Sparse, b: Sparse) -> Sparse:
        done = []
        for start, stop in _ranges(_lengths(a, b)):
            row, column, term = _terms(a[start:stop], b)
            keys, place = np.unique(row * b.shape[1] + column, return_inverse=True)
            order = np.argsort(place, kind="stable")
            ends = np.concatenate([[0], np.cumsum(np.bincount(place, minlength=len(keys)))])
            sums, one = np.empty((len(keys), 1)), np.ones((1, 1))
            binned_kernel.dot(ends, np.zeros(len(term), np.uint32), term[order], None, one, sums)
            at = (keys // b.shape[1], keys % b.shape[1])
            done.append(csr((sums[:, 0], at), (stop - start, b.shape[1])))
        return stacked(done, b.shape[1])

    def pairs(self, a: Sparse, b: Sparse, a_bound: Floats, b_bound: Floats) -> Pairs:
        total = Pairs(np.empty(0, np.int64), np.empty((0, self.folds)))
        for start, stop in _ranges(np.diff(a.indptr).astype(np.int64) * np.diff(b.indptr)):
            left, right = a[start:stop], b[start:stop]
            alone = csr((left.data, row_numbers(left), np.arange(left.nnz + 1)), (left.nnz, stop - start))
            entry, column, term = _terms(alone, right)
            first = left.indices[entry].astype(np.int64)
            keys, place = np.unique(first * b.shape[1] + column, return_inverse=True)
            ceiling = a_bound[keys // b.shape[1]] * b_bound[keys % b.shape[1]]
            sums = np.zeros((len(keys), self.folds, 1))
            one, grid = np.ones((1, 1)), np.ldexp(np.ones(1), self.lost)
            row = np.array([0, len(term)])
            binned_kernel.add_tdot(row, place.astype(np.uint32), term, None, one, ceiling, grid, self.shrink, sums)
            total = Pairs(*rows_kernel.add_sorted(total.keys, total.values, keys, sums[:, :, 0]))
        return total


def entries(X: Matrix) -> Sparse:
    """The rows as one sparse matrix over the block's columns, float64: a copy."""
    return csr(X.to_scipy().astype(np.float64, copy=False))


def _lengths(a: Sparse, b: Sparse) -> Ints:
    """How many products of two numbers each row of A B adds up."""
    each = np.diff(b.indptr)[a.indices].astype(np.int64)
    return np.diff(np.concatenate([[0], np.cumsum(each)])[a.indptr])


def _ranges(terms: Ints) -> list[tuple[int, int]]:
    """Ranges of rows that have few terms each, or are single rows."""
    ranges, start, held = [], 0, 0
    for i, count in enumerate(terms.tolist()):
        if held + count > _TERMS and i > start:
            ranges.append((start, i))
            start, held = i, 0
        held += count
    return [*ranges, (start, len(terms))] if len(terms) > start else ranges


def _terms(a: Sparse, b: Sparse) -> tuple[Ints, Ints, Floats]:
    """Every product aᵢⱼ bⱼₖ: i, k, and the number."""
    each = np.diff(b.indptr)[a.indices].astype(np.int64)
    end = np.cumsum(each)
    place = np.repeat(b.indptr[a.indices].astype(np.int64) - end + each, each) + np.arange(int(np.sum(each)))
    return np.repeat(row_numbers(a), each), b.indices[place].astype(np.int64), np.repeat(a.data, each) * b.data[place]
