"""What every matrix here has, whichever way it lies: products on both sides, and what follows from products alone.

    A @ W, W dense or sparse        R @ A  =  (Aᵀ Rᵀ)ᵀ        min over w of ‖A w − y‖² + α ‖w‖²

Dense operands are (d,) or (d, K); results are float64 NumPy arrays, or scipy matrices for sparse operands.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.linalg import LinearOperator

from blockdot.blocks.matrix import Floats
from blockdot.errors import DataError, SpecError
from blockdot.linalg.least_squares import LeastSquares, solve
from blockdot.linalg.sparse import Entries, Sparse, entries_of


class Operand(ABC):
    """A matrix known by its products."""

    ndim = 2
    dtype = np.dtype(np.float64)
    __array_ufunc__ = None  # so that NumPy leaves R @ A to us
    __array_priority__ = 100.0  # and scipy

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Rows, columns."""

    @property
    @abstractmethod
    def T(self) -> Operand:
        """The transpose, a view."""

    @abstractmethod
    def _times(self, w: Floats) -> Floats:
        """A W, (n, K), for W (d, K)."""

    @abstractmethod
    def _times_sparse(self, s: Entries) -> Sparse:
        """A S, (n, m), for sparse S (d, m)."""

    def __repr__(self) -> str:
        n, d = self.shape
        return f"<{type(self).__name__} of {n:,} rows and {d:,} columns>"

    def __matmul__(self, other: Any) -> Any:
        """A W: (n,) for W (d,), (n, K) for W (d, K), a scipy matrix (n, m) for sparse W (d, m)."""
        if isinstance(other, Operand):
            raise SpecError(
                "a product of two block matrices is not made at once: X.gram() is XᵀX, X.T.gram() is XXᵀ, "
                "and any other has one of the two as a scipy matrix (to_scipy())"
            )
        self.check_right(other)
        entries = entries_of(other)
        if entries is not None:
            return self._times_sparse(entries)
        w = np.asarray(other, np.float64)
        if w.ndim == 2 and w.shape[1] == 0:
            return np.empty((self.shape[0], 0))
        return self._times(w) if w.ndim == 2 else self._times(w[:, np.newaxis])[:, 0]

    def __rmatmul__(self, other: Any) -> Any:
        """R A = (Aᵀ Rᵀ)ᵀ."""
        return (self.T @ transposed(other)).T

    def as_linear_operator(self) -> LinearOperator:
        """For scipy.sparse.linalg: every product reads the data once."""
        return BlockOperator(self)

    def lstsq(self, y: ArrayLike, *, tol: float = 1e-10, max_iter: int | None = None) -> LeastSquares:
        """The w of least norm that makes ‖A w − y‖ least: see :func:`blockdot.linalg.least_squares.solve`."""
        return solve(self.as_linear_operator(), self._targets(y), 0.0, tol, max_iter)

    def ridge(self, y: ArrayLike, alpha: float, *, tol: float = 1e-10, max_iter: int | None = None) -> LeastSquares:
        """The w that makes ‖A w − y‖² + alpha ‖w‖² least."""
        return solve(self.as_linear_operator(), self._targets(y), alpha, tol, max_iter)

    def _targets(self, y: ArrayLike) -> Floats:
        array = np.asarray(y, np.float64)
        if array.shape != self.shape[:1]:
            raise DataError(f"y has the shape {array.shape}; needed ({self.shape[0]},), one number a row")
        if not np.all(np.isfinite(array)):
            raise DataError(f"y[{int(np.argmin(np.isfinite(array)))}] is not finite; needed finite numbers")
        return array

    def check_right(self, other: Any) -> None:
        """DataError for what this matrix cannot be multiplied with."""
        array = other if hasattr(other, "shape") and hasattr(other, "dtype") else np.asarray(other)
        (n, d), shape, dtype = self.shape, array.shape, array.dtype
        if len(shape) not in (1, 2) or shape[0] != d:
            raise DataError(
                f"a product of a matrix of {n:,} rows and {d:,} columns with an array of the shape {shape}; "
                f"needed ({d},) or ({d}, K)"
            )
        if dtype.kind not in "fiub":
            raise DataError(f"a product with numbers of the type {dtype}; needed real numbers")


def transposed(other: Any) -> Any:
    """Otherᵀ of a scipy matrix or an array."""
    return other.T if hasattr(other, "T") else np.asarray(other).T


class BlockOperator(LinearOperator):
    """A as scipy's linear operator."""

    def __init__(self, matrix: Operand) -> None:
        super().__init__(matrix.dtype, matrix.shape)  # type: ignore[call-arg]  # the stubs do not know it
        self.matrix = matrix

    def _matvec(self, x: NDArray[Any]) -> Floats:
        return np.asarray(self.matrix @ x.reshape(-1))

    def _rmatvec(self, x: NDArray[Any]) -> Floats:
        return np.asarray(self.matrix.T @ x.reshape(-1))

    def _matmat(self, X: NDArray[Any]) -> Floats:
        return np.asarray(self.matrix @ X)

    def _rmatmat(self, X: NDArray[Any]) -> Floats:
        return np.asarray(self.matrix.T @ X)
