"""The rows of a data set as a matrix: ``ds.X``.

    X @ W, X.T @ R, R @ X      products; W dense or sparse             X.gram(), X.T.gram()     XᵀDX, XXᵀ
    X.norms(axis), X.inner(Y)  norms, Σ xᵢⱼ yᵢⱼ                        X.cosine_similarity(t)   pairs of columns
    X.svd(k), X.pca(k)         decompositions                          X.lstsq(y), X.ridge(y, α)
    X.scale(rows, columns), X.centred(), X.T                           views: nothing is computed or copied
    X.as_linear_operator()     for scipy.sparse.linalg                 X.save, X.matmul         new data sets

Everything is a sum or a map over the blocks (blocks/sums.py), so it has the same bits on threads and on any number of
workers; ``X.reproducible()`` has the same bits for any cut of the rows into blocks, too. Blocks stay where they are,
memory-mapped; what is held is the operands, the results, and a partial sum for each worker.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, DTypeLike, NDArray

from blockdot.blocks.dataset import Dataset
from blockdot.blocks.matrix import Floats
from blockdot.blocks.threads import ThreadPool
from blockdot.blocks.tree import Pool
from blockdot.errors import DataError, SpecError
from blockdot.linalg import exchange, similarity
from blockdot.linalg import gram as grams
from blockdot.linalg.arguments import a_threshold, factors, refuse_many, refuse_sampling
from blockdot.linalg.arithmetic import Binned, Plain
from blockdot.linalg.columns import Columns
from blockdot.linalg.derived import AsBlock, ColumnsOf, SeenRows, derived
from blockdot.linalg.operand import Operand
from blockdot.linalg.passes import SparseTimes, Times
from blockdot.linalg.rows import Rows
from blockdot.linalg.sparse import Entries, Sparse, entries_of, scale_rows, stacked
from blockdot.linalg.svd import PCA, SVD, Method, decompose
from blockdot.linalg.transposed import Transposed
from blockdot.linalg.view import View

if TYPE_CHECKING:
    from blockdot.blocks.dask import Array


@dataclass(frozen=True, eq=False, repr=False)
class BlockMatrix(Operand):
    """n rows by d columns, d the width of the id space, or, of :meth:`occurring`, the features that occur."""

    view: View
    _columns: Columns

    @classmethod
    def of(cls, data: Dataset | sp.sparray | sp.spmatrix | ArrayLike) -> BlockMatrix:
        """A data set's rows, a scipy matrix, a NumPy array, or a Dask array whose chunks are dense or sparse."""
        if not isinstance(data, Dataset):
            data = exchange.dataset_of(data)
        rows = Rows(data, ThreadPool())
        return cls(View(rows, Plain()), Columns.all_of(data.table, data.n_features))

    # ---- what it is

    @property
    def shape(self) -> tuple[int, int]:
        return self.view.rows.n_rows, self._columns.size

    @property
    def columns(self) -> NDArray[np.int64]:
        """(d,) the feature id of each column."""
        return self._columns.ids

    @property
    def T(self) -> Transposed:
        return Transposed(self)

    def on(self, pool: Pool) -> BlockMatrix:
        """The same, worked on by ``pool``. For a cluster, rows in memory are spooled in each call: save them first."""
        return replace(self, view=replace(self.view, rows=replace(self.view.rows, pool=pool)))

    def reproducible(self) -> BlockMatrix:
        """The same with sums whose bits do not depend on the cut into blocks: see blockdot.linalg.arithmetic."""
        return replace(self, view=replace(self.view, arithmetic=Binned(self.shape[0])))

    def occurring(self) -> BlockMatrix:
        """The columns of the features that occur, by ascending id: for id spaces that are wider than memory."""
        return replace(self, _columns=Columns.occurring_in(self.view.rows.data.table))

    def scale(self, rows: ArrayLike | None = None, columns: ArrayLike | None = None) -> BlockMatrix:
        """diag(rows) X diag(columns): (n,) and (d,) factors, 1 where None."""
        c = factors("columns", columns, self.shape[1])
        inner = None if c is None else self._columns.gather(c)
        return replace(self, view=self.view.scaled(factors("rows", rows, self.shape[0]), inner))

    def centred(self) -> BlockMatrix:
        """X − 1 μᵀ, μ the means of the columns: its products cost what those of X cost, and one inner product."""
        return replace(self, view=self.view.less(np.ones(self.shape[0]), self._means()))

    def means(self) -> Floats:
        """(d,) the mean of each column."""
        self._columns.refuse_wide(1)
        return self._columns.spread(self._means())

    def _means(self) -> Floats:
        if not self.shape[0]:
            raise DataError("a matrix without rows has no means")
        return self.view.transposed_times(np.ones((self.shape[0], 1)))[:, 0] / self.shape[0]

    # ---- products

    def _times(self, w: Floats) -> Floats:
        return self.view.times(self._columns.gather(w))

    def _times_sparse(self, s: Entries) -> Sparse:
        task, each = self._sparse_task(s)
        parts = list(self.view.rows.map(task, each=each))
        return stacked(parts, s.shape[1])

    def _sparse_task(self, s: Entries) -> tuple[SparseTimes, list[Floats | None]]:
        self.view.refuse_centred("a product with a sparse matrix")
        local, c = self._columns.gather_sparse(s), self.view.c
        self.view.arithmetic.check(local.data)
        scale_rows(local, c)
        return SparseTimes(self.view.arithmetic, local), self.view.rows.cut(self.view.r)

    def matmul(self, other: Any, out: str | Path | None = None, *, dtype: DTypeLike = np.float64) -> Dataset:
        """The rows of X @ other as a new data set with the same targets and weights.

        Parameters
        ----------
        other
            (d, K), dense or sparse.
        out
            Where a store is made, block by block; in memory where None.
        dtype
            float64 or float32, for the values.
        """
        self.check_right(other)
        entries = entries_of(other)
        if entries is not None:
            sparse, each = self._sparse_task(entries)
            task = AsBlock(sparse, dtype)
            return derived(self.view.rows, task, each=each, n_features=entries.shape[1], out=out)
        w = np.asarray(other, np.float64)
        if w.ndim != 2:
            raise DataError(f"the other factor has the shape {w.shape}; needed ({self.shape[1]}, K)")
        view, w = self.view, self._columns.gather(w)
        dense, vector = AsBlock(Times(view.arithmetic, w.shape[1], view.rank), dtype), view.with_low_rank(w)
        return derived(view.rows, dense, vector, each=view.parts(), n_features=w.shape[1], out=out)

    # ---- inner products

    def norm(self) -> float:
        """The Frobenius norm √Σ xᵢⱼ²."""
        return math.sqrt(math.fsum(self.view.row_squares().tolist()))

    def norms(self, axis: int) -> Floats:
        """Euclidean norms as of numpy.linalg.norm: of the columns (d,) for axis 0, of the rows (n,) for axis 1."""
        if axis not in (0, 1):
            raise SpecError(f"axis is {axis!r}; needed 0 for the norms of the columns, 1 for those of the rows")
        if axis == 1:
            return np.sqrt(self.view.row_squares())
        self._columns.refuse_wide(1)
        return np.sqrt(self._columns.spread(self.view.column_squares()))

    def inner(self, other: BlockMatrix | sp.sparray | sp.spmatrix | ArrayLike) -> float:
        """The Frobenius inner product Σ xᵢⱼ yᵢⱼ with a matrix of the same shape, cut into blocks in any way.

        Of two block matrices, columns are matched by feature id.
        """
        other = other if isinstance(other, BlockMatrix) else BlockMatrix.of(other)
        all_ids = self._columns.occurring is None and other._columns.occurring is None
        if other.shape[0] != self.shape[0] or (all_ids and other.shape != self.shape):
            raise DataError(f"an inner product of matrices of the shapes {self.shape} and {other.shape}")
        return self.view.inner(other.view)

    def gram(self, weights: ArrayLike | None = None, threshold: float | None = None) -> Any:
        """XᵀDX, D = diag(weights), of any sign: inner products of all pairs of columns.

        Dense (d, d) where ``threshold`` is None, which needs at most 4,096 columns; else a symmetric scipy matrix of
        the entries of at least ``threshold`` in size.
        """
        d = factors("weights", weights, self.shape[0])
        if threshold is not None:
            self._columns.refuse_wide(1)
            return self._of_pairs(grams.of_column_pairs(self.view, d, a_threshold(threshold)))
        refuse_many(self.shape[1], "columns")
        return self._columns.both_sides(grams.of_columns(self.view, d))

    def cosine_similarity(
        self, threshold: float | None = None, *, error: float | None = None, random_state: int = 0
    ) -> Any:
        """Cosines of all pairs of columns, 0 for columns of zeros.

        Dense (d, d) where ``threshold`` is None, which needs at most 4,096 columns; else a symmetric scipy matrix of
        the cosines of at least ``threshold`` in size. With ``error`` they are estimates without bias whose standard
        error is at most ``error``, from a sample of the entries of frequent columns: blockdot.linalg.sampling has the
        method (DIMSUM) and the bound.
        """
        if threshold is not None:
            self._columns.refuse_wide(1)
            return self._of_pairs(similarity.of_columns(self.view, a_threshold(threshold), error, random_state))
        refuse_sampling(error)
        refuse_many(self.shape[1], "columns")
        return self._columns.both_sides(grams.of_columns(similarity.unit_columns(self.view), None))

    def _of_pairs(self, found: grams.Pairs) -> Sparse:
        return found.matrix(self._columns.place, self._columns.size)

    # ---- decompositions

    def svd(
        self, k: int, *, method: Method = "randomized", n_iter: int = 7, tol: float = 0.0, random_state: int = 0
    ) -> SVD:
        """The k largest singular values and their vectors: u (n, k), s (k,) descending, vt (k, d).

        Parameters
        ----------
        k
            1 … min(n, features that occur).
        method
            "randomized": n_iter + 2 readings of the data, with k + 10 columns at once, and an error that falls with
            the gap after σₖ₊₁₀. "lanczos": one column at once and many more readings, to ``tol`` (0: float64).
        random_state
            Seeds the start; the largest entry of each right vector is positive.

        Singular values below max(n, d) ε σ₁ are given as 0. See blockdot.linalg.svd for the algorithms.
        """
        self._columns.refuse_wide(k)
        u, s, vt = decompose(self.view, k, method, n_iter, tol, random_state)
        return SVD(u, s, self._columns.spread(vt.T).T)

    def pca(
        self, k: int, *, method: Method = "randomized", n_iter: int = 7, tol: float = 0.0, random_state: int = 0
    ) -> PCA:
        """The k directions of most variance, by the SVD of the centred matrix, which is never made."""
        self._columns.refuse_wide(k)
        centred = self.centred()
        u, s, vt = centred.svd(k, method=method, n_iter=n_iter, tol=tol, random_state=random_state)
        squares, freedom = np.square(s), max(self.shape[0] - 1, 1)
        share = squares / max(math.fsum(centred.view.row_squares().tolist()), np.finfo(np.float64).tiny)
        return PCA(vt, u * s, squares / freedom, share, s, self.means())

    # ---- to and from

    def save(self, path: str | Path, *, dtype: DTypeLike = np.float64) -> Dataset:
        """The rows as they are seen, scaled, as a store at ``path`` with the same targets and weights."""
        return self._seen().saved(path, dtype)

    def to_scipy(self) -> Sparse:
        """(n, d) in this process's memory."""
        return exchange.to_scipy(self._seen())

    def toarray(self) -> Floats:
        """(n, d) dense, in this process's memory."""
        whole: Floats = replace(self, view=self.view.sparse_part).to_scipy().toarray()
        for q in range(self.view.rank):
            assert self.view.left is not None
            assert self.view.right is not None
            whole[:, self._columns.place] -= self.view.left[:, q, np.newaxis] * self.view.right[:, q]
        return whole

    def to_dask(self) -> Array:
        """A Dask array with a scipy chunk for each block, read when it is computed."""
        return exchange.to_dask(self._seen())

    def to_parquet(self, path: str | Path) -> None:
        """A folder of Parquet files, one a block: lists of column numbers and values, targets and weights."""
        exchange.to_parquet(self._seen(), Path(path))

    @classmethod
    def from_parquet(cls, path: str | Path, out: str | Path | None = None) -> BlockMatrix:
        """What :meth:`to_parquet` wrote, a file or a folder; as a store at ``out``, in memory where None."""
        return cls.of(exchange.from_parquet(Path(path), None if out is None else Path(out)))

    def _seen(self) -> SeenRows:
        self.view.refuse_centred("a copy")
        rows, vectors = self.view.rows, () if self.view.c is None else (self.view.c,)
        return SeenRows(rows, ColumnsOf(self._columns.place, self.shape[1]), vectors, rows.cut(self.view.r))
