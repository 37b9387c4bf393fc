"""A matrix that is never made: rows and columns scaled, and a matrix of low rank taken off.

    A  =  diag(r) X diag(c) − U Mᵀ,        X (n, k) over the features that occur, U (n, q), M (k, q)

    A W   = r ∘ X (c ∘ W) − U (Mᵀ W)                     Aᵀ R = c ∘ Xᵀ (r ∘ R) − M (Uᵀ R)
    AᵀA V = c ∘ Xᵀ (r ∘ Z) − M (Uᵀ Z),   Z = A V         A − 1 μᵀ (centring) takes off one more column of U and M

Squares of norms come from the same products, aᵢⱼ² summed over i or j by expanding the square. So the norm of a centred
row or column is good to rounding errors of the part that was taken off, as always where sparse data stay sparse.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from blockdot.blocks.layout import Layout
from blockdot.blocks.matrix import Floats
from blockdot.errors import SpecError
from blockdot.linalg.arithmetic import Arithmetic, Plain
from blockdot.linalg.passes import Normal, RowInner, RowPart, SparseTransposed, Times, TransposedTimes
from blockdot.linalg.rows import Rows, power_above
from blockdot.linalg.sparse import Entries, Sparse, coo, scale_rows


@dataclass(frozen=True, eq=False)
class View:
    """A over the features that occur; see the module. Vectors over rows and features have a column for each of K."""

    rows: Rows
    arithmetic: Arithmetic
    r: Floats | None = None
    c: Floats | None = None
    left: Floats | None = None
    """U; None where q = 0."""
    right: Floats | None = None
    """M."""

    @property
    def rank(self) -> int:
        """q."""
        return 0 if self.left is None else self.left.shape[1]

    def scaled(self, rows: Floats | None, columns: Floats | None) -> View:
        """diag(rows) A diag(columns)."""
        return replace(
            self,
            r=_both(self.r, rows),
            c=_both(self.c, columns),
            left=self.left if self.left is None else _by_row(self.left, rows),
            right=self.right if self.right is None else _by_row(self.right, columns),
        )

    def less(self, u: Floats, m: Floats) -> View:
        """A − u mᵀ."""
        if self.left is None or self.right is None:
            return replace(self, left=u[:, np.newaxis], right=m[:, np.newaxis])
        return replace(self, left=np.column_stack([self.left, u]), right=np.column_stack([self.right, m]))

    @property
    def sparse_part(self) -> View:
        """diag(r) X diag(c)."""
        return replace(self, left=None, right=None)

    def parts(self) -> list[RowPart]:
        """What each block needs for its rows."""
        return [RowPart(r, u) for r, u in zip(self.rows.cut(self.r), self.rows.cut(self.left), strict=True)]

    def with_low_rank(self, w: Floats) -> Floats:
        """The flat vector (c ∘ W | Mᵀ W) of the passes."""
        self.arithmetic.check(w)
        t = np.empty((0, w.shape[1])) if self.right is None else np.einsum("jq,jc->qc", self.right, w)
        return np.concatenate([_by_row(w, self.c).ravel(), t.ravel()])

    def times_parts(self, w: Floats) -> Iterator[Floats]:
        """A W for W (k, K): the rows of each block, (n_b, K)."""
        task = Times(self.arithmetic, w.shape[1], self.rank)
        return self.rows.map(task, self.with_low_rank(w), each=self.parts())

    def times(self, w: Floats) -> Floats:
        """A W, (n, K), for W (k, K)."""
        return self.rows.stacked(self.times_parts(w), w.shape[1])

    def transposed_times(self, u: Floats) -> Floats:
        """Aᵀ R, (k, K), for R (n, K)."""
        out = _by_row(self._transposed(_by_row(u, self.r)), self.c)
        if self.left is not None and self.right is not None:
            out = out - _outer(self.right, np.einsum("iq,ic->qc", self.left, u))
        return out

    def transposed_times_sparse(self, s: Sparse) -> Entries:
        """Aᵀ S, (k, m) sparse, for sparse S (n, m)."""
        self.refuse_centred("a product with a sparse matrix")
        self.arithmetic.check(s.data)
        scale_rows(s, self.r)
        largest = np.zeros(s.shape[1])
        np.maximum.at(largest, s.indices, np.abs(s.data))
        bounds = self.arithmetic.bounds(self.rows)
        task = SparseTransposed(self.arithmetic, power_above(largest))
        total = self.rows.folded(task, *bounds, each=self.rows.cut(s))
        shape = (self.rows.n_occurring, s.shape[1])
        if total is None:
            return coo(shape)
        keys = np.arange(len(total.rows)) if total.positions is None else total.positions
        at, values = (keys // s.shape[1], keys % s.shape[1]), self.arithmetic.total(total.rows)[:, 0]
        kept = values != 0
        out = coo((values[kept], (at[0][kept], at[1][kept])), shape)
        if self.c is not None:
            out.data *= self.c[out.row]
        return out

    def normal(self, v: Floats) -> Floats:
        """AᵀA V, (k, K), for V (k, K): one reading of the data where the arithmetic allows it."""
        if not isinstance(self.arithmetic, Plain):
            return self.transposed_times(self.times(v))
        layout = Layout(v.shape[1], self.rank * v.shape[1])
        total = self.rows.sum(Normal(v.shape[1], self.rank), self.with_low_rank(v), like=layout, each=self.parts())
        out, tail = layout.split(total)
        out = _by_row(out, self.c)
        return out if self.right is None else out - _outer(self.right, tail.reshape(self.rank, -1))

    def column_squares(self) -> Floats:
        """(k,) Σᵢ aᵢⱼ²."""
        r = np.ones(self.rows.n_rows) if self.r is None else self.r
        out = _by_row(self._transposed(np.square(r)[:, np.newaxis], squared=True)[:, 0], _squared(self.c))
        if self.left is not None and self.right is not None:
            cross = self.sparse_part.transposed_times(self.left)
            inner = np.einsum("iq,ip->qp", self.left, self.left)
            out = out - 2.0 * np.einsum("jq,jq->j", cross, self.right)
            out = np.maximum(out + np.einsum("jq,qp,jp->j", self.right, inner, self.right), 0.0)
        return out

    def row_squares(self) -> Floats:
        """(n,) Σⱼ aᵢⱼ²."""
        c = np.ones(self.rows.n_occurring) if self.c is None else self.c
        own = [RowPart(r, None) for r in self.rows.cut(_squared(self.r))]
        out = self.rows.stacked(self.rows.map(Times(self.arithmetic, 1, squared=True), np.square(c), each=own), 1)[:, 0]
        if self.left is not None and self.right is not None:
            cross = self.sparse_part.times(self.right)
            inner = np.einsum("jq,jp->qp", self.right, self.right)
            out = out - 2.0 * np.einsum("iq,iq->i", cross, self.left)
            out = np.maximum(out + np.einsum("iq,qp,ip->i", self.left, inner, self.left), 0.0)
        return out

    def inner(self, other: View) -> float:
        """Σᵢⱼ aᵢⱼ bᵢⱼ with B, whose features are matched by their ids and whose rows may be cut elsewhere.

        With A = Ā − U Mᵀ:  ⟨A, B⟩ = ⟨Ā, B̄⟩ − ⟨Ā, U_B M_Bᵀ⟩ − ⟨U_A M_Aᵀ, B⟩,  and  ⟨U Mᵀ, B⟩ = ⟨M, BᵀU⟩.
        """
        total = self._sparse_inner(other)
        if other.left is not None and other.right is not None:
            total -= _inner(self._matched(other, other.right), self.sparse_part.transposed_times(other.left))
        if self.left is not None and self.right is not None:
            total -= _inner(self.right, self._matched(other, other.transposed_times(self.left)))
        return total

    def _sparse_inner(self, other: View) -> float:
        q = self._matched(other, np.ones((other.rows.n_occurring, 1)) if other.c is None else other.c[:, np.newaxis])
        both = _by_row(q[:, 0], self.c)
        with other.rows.data.on(self.rows.pool) as blocks:
            task = RowInner(self.arithmetic, blocks.source, other.rows.starts)
            found = list(self.rows.map(task, both, each=self.rows.starts[:-1].tolist()))
        sums = np.concatenate(found) if found else np.empty(0)
        return math.fsum(_by_row(_by_row(sums, self.r), other.r).tolist())

    def _matched(self, other: View, values: Floats) -> Floats:
        """``values`` (rows: the other's features) for the features that occur here; 0 for those the other lacks."""
        place = other.rows.data.table.find(self.rows.data.table.ids)
        out = np.zeros((self.rows.n_occurring, values.shape[1]))
        out[place >= 0] = values[place[place >= 0]]
        return out

    def _transposed(self, u: Floats, *, squared: bool = False) -> Floats:
        """Xᵀ R, or (X∘X)ᵀ R, without the view."""
        bounds = self.arithmetic.bounds(self.rows)
        if squared:
            bounds = tuple(np.square(bound) for bound in bounds)
        factor = self.arithmetic.factor(u, *bounds)
        task = TransposedTimes(self.arithmetic, u.shape[1], factor, squared)
        total = self.rows.sum(task, *bounds, like=task.sum_layout, each=self.rows.cut(u))
        return self.arithmetic.total(task.sum_layout.split(total)[0])

    def refuse_centred(self, what: str) -> None:
        """SpecError for what would have an entry everywhere."""
        if self.left is not None:
            raise SpecError(f"{what} of a centred matrix would be dense; take it of the matrix before it is centred")


def _by_row(array: Floats, factor: Floats | None) -> Floats:
    """Each row of ``array`` (m,) or (m, K) times its factor."""
    if factor is None:
        return array
    scaled: Floats = array * (factor if array.ndim == 1 else factor[:, np.newaxis])
    return scaled


def _both(a: Floats | None, b: Floats | None) -> Floats | None:
    return b if a is None else a if b is None else a * b


def _squared(a: Floats | None) -> Floats | None:
    return None if a is None else np.square(a)


def _outer(a: Floats, b: Floats) -> Floats:
    """a (m, q) times b (q, K), in the order of q."""
    out: Floats = a[:, :1] * b[0]
    for q in range(1, len(b)):
        out += a[:, q, np.newaxis] * b[q]
    return out


def _inner(a: Floats, b: Floats) -> float:
    return math.fsum((a * b).ravel().tolist())
