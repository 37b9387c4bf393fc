"""Xᵀ, a view of X: the same verbs with the sides exchanged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import scipy.sparse as sp
from numpy.typing import ArrayLike

from blockdot.blocks.matrix import Floats
from blockdot.blocks.tree import Pool
from blockdot.linalg import gram as grams
from blockdot.linalg import similarity
from blockdot.linalg.arguments import a_threshold, refuse_many, refuse_sampling
from blockdot.linalg.operand import Operand, transposed
from blockdot.linalg.sparse import Entries, Sparse, csr
from blockdot.linalg.svd import SVD, Method

if TYPE_CHECKING:
    from blockdot.linalg.matrix import BlockMatrix


@dataclass(frozen=True, eq=False, repr=False)
class Transposed(Operand):
    """Xᵀ, a view of X: the same verbs with the sides exchanged."""

    base: BlockMatrix

    @property
    def shape(self) -> tuple[int, int]:
        n, d = self.base.shape
        return d, n

    @property
    def T(self) -> BlockMatrix:
        return self.base

    def on(self, pool: Pool) -> Transposed:
        """The same, worked on by ``pool``."""
        return self.base.on(pool).T

    def reproducible(self) -> Transposed:
        """The same with sums whose bits do not depend on the cut into blocks."""
        return self.base.reproducible().T

    def scale(self, rows: ArrayLike | None = None, columns: ArrayLike | None = None) -> Transposed:
        """diag(rows) Xᵀ diag(columns)."""
        return self.base.scale(columns, rows).T

    def _times(self, w: Floats) -> Floats:
        columns = self.base._columns
        columns.refuse_wide(w.shape[1])
        return columns.spread(self.base.view.transposed_times(w))

    def _times_sparse(self, s: Entries) -> Sparse:
        self.base._columns.refuse_wide(1)
        found = self.base.view.transposed_times_sparse(csr(s))
        at = (self.base._columns.place[found.row], found.col)
        return csr((found.data, at), (self.shape[0], s.shape[1]))

    def norm(self) -> float:
        """The Frobenius norm."""
        return self.base.norm()

    def norms(self, axis: int) -> Floats:
        """Of the columns for axis 0, of the rows for axis 1."""
        return self.base.norms(1 - axis if axis in (0, 1) else axis)

    def inner(self, other: Transposed | sp.sparray | sp.spmatrix | ArrayLike) -> float:
        """Σ of the products of entries, with a matrix of the same shape."""
        if isinstance(other, Transposed):
            return self.base.inner(other.base)
        return self.base.inner(transposed(other))

    def gram(self, threshold: float | None = None) -> Any:
        """XXᵀ: inner products of all pairs of rows of X; dense for at most 4,096, else at least ``threshold``."""
        if threshold is not None:
            return grams.of_row_pairs(self.base.view, a_threshold(threshold)).matrix(None, self.shape[1])
        refuse_many(self.shape[1], "rows")
        return grams.of_rows(self.base.view)

    def cosine_similarity(
        self, threshold: float | None = None, *, error: float | None = None, random_state: int = 0
    ) -> Any:
        """Cosines of all pairs of rows of X: as of columns (:meth:`BlockMatrix.cosine_similarity`)."""
        if threshold is not None:
            found = similarity.of_rows(self.base.view, a_threshold(threshold), error, random_state)
            return found.matrix(None, self.shape[1])
        refuse_sampling(error)
        refuse_many(self.shape[1], "rows")
        return grams.of_rows(similarity.unit_rows(self.base.view))

    def svd(
        self, k: int, *, method: Method = "randomized", n_iter: int = 7, tol: float = 0.0, random_state: int = 0
    ) -> SVD:
        """Xᵀ ≈ u diag(s) vt, from the decomposition of X."""
        u, s, vt = self.base.svd(k, method=method, n_iter=n_iter, tol=tol, random_state=random_state)
        return SVD(vt.T, s, u.T)

    def to_scipy(self) -> Sparse:
        """(d, n) in this process's memory."""
        return csr(self.base.to_scipy().T)

    def toarray(self) -> Floats:
        """(d, n) dense, in this process's memory."""
        return self.base.toarray().T
