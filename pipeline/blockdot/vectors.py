"""Linear algebra of the driver, the same bits on any machine with the same CPU features.

    inner(a, b) = Σⱼ aⱼ bⱼ        norm(a) = √inner(a, a)        Cholesky: A = L Lᵀ

BLAS sums in an order that depends on its number of threads, and its threads spin on the cores that the block kernels
need. So the vectors of a solver are reduced by a loop of our own, and small matrices are factored here, with BLAS held
to one thread while it works.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blockdot.vector_kernel import inner as compiled_inner

Vector = NDArray[np.float64]
SquareMatrix = NDArray[np.float64]


def inner(a: Vector, b: Vector) -> float:
    """The inner product of two vectors of the same length."""
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"vectors of one length are needed, not arrays of the shapes {a.shape} and {b.shape}")
    return float(compiled_inner(np.ascontiguousarray(a, np.float64), np.ascontiguousarray(b, np.float64)))


def norm(a: Vector) -> float:
    """The Euclidean norm of a vector."""
    return math.sqrt(inner(a, a))


@dataclass(frozen=True, eq=False)
class Cholesky:
    """L, from A = L Lᵀ."""

    lower: SquareMatrix

    @classmethod
    def of(cls, A: SquareMatrix) -> Cholesky | None:
        """The factor of a symmetric matrix, or None where it is not positive definite to rounding."""
        from scipy.linalg import LinAlgError, cholesky

        try:
            with one_blas_thread():
                lower = cholesky(A, lower=True)
        except (LinAlgError, ValueError):  # not definite; not finite
            return None
        diagonal = np.diag(lower)
        if np.any(diagonal**2 <= len(A) * np.finfo(np.float64).eps * np.diag(A)):
            return None
        return cls(np.asarray(lower))

    def solve(self, b: Vector) -> Vector:
        """A⁻¹ b."""
        from scipy.linalg import cho_solve

        with one_blas_thread():
            return np.asarray(cho_solve((self.lower, True), b, check_finite=False))


def solve_by_eigenvalues(A: SquareMatrix, b: Vector) -> Vector:
    """|A|⁺ b of a symmetric matrix: eigenvalues by their size, and those lost in rounding left out."""
    from scipy.linalg import eigh

    with one_blas_thread():
        values, vectors = eigh(A)
        size = np.abs(values)
        kept = size > len(A) * np.finfo(np.float64).eps * np.max(size, initial=0.0)
        basis = vectors[:, kept]
        return np.asarray(basis @ ((basis.T @ b) / size[kept]))


_holding = threading.Lock()
_holders = 0
_limit: Any = None


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold BLAS to one thread for a while: its bits then depend on the numbers alone.

    The limit is the process's, so the first of those who want it sets it, and the last one lifts it.
    """
    global _holders, _limit
    with _holding:
        if not _holders:
            _limit = _blas().limit(limits=1, user_api="blas")
        _holders += 1
    try:
        yield
    finally:
        with _holding:
            _holders -= 1
            if not _holders:
                _limit.restore_original_limits()


@cache
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
