"""Least squares by products alone.

    min over w of ‖A w − y‖² + α ‖w‖²

by LSMR (Fong & Saunders, *LSMR: an iterative algorithm for sparse least-squares problems*, SIAM J. Sci. Comput. 33,
2011; scipy's). Each iteration multiplies by A and Aᵀ once, as conjugate gradients on the normal equations do, without
squaring the condition number in the rounding errors. Columns of very different size make it slow: scale them first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator, lsmr

from blockdot.blocks.matrix import Floats
from blockdot.errors import SpecError
from blockdot.vectors import one_blas_thread

# What scipy's reasons for stopping are called here; from 4 on "to the precision of float64".
_STATUS = ("converged", "converged", "converged", "ill conditioned", "converged", "converged", "ill conditioned")


@dataclass(frozen=True, eq=False)
class LeastSquares:
    """A solution w.

    Attributes
    ----------
    coef
        (d,) w; of all solutions the one of least norm.
    status
        "converged", "ill conditioned" (the condition number exceeds 1e14), or "max_iter".
    residual_norm
        ‖A w − y‖; with α it counts √α w, too.
    gradient_norm
        ‖Aᵀ(A w − y) + α w‖, as the iteration estimates it.
    """

    coef: Floats
    status: str
    n_iter: int
    residual_norm: float
    gradient_norm: float

    @property
    def converged(self) -> bool:
        return self.status == "converged"


def solve(A: LinearOperator, y: Floats, alpha: float, tol: float, max_iter: int | None) -> LeastSquares:
    """Iterate until the residual, or the gradient, is ``tol`` of its scale (LSMR's atol and btol); w starts at 0.

    ``max_iter`` is min(n, d), and at least 100, where it is None.
    """
    if not alpha >= 0 or not math.isfinite(alpha):
        raise SpecError(f"alpha is {alpha!r}; needed a number of at least 0")
    if not tol >= 0:
        raise SpecError(f"tol is {tol!r}; needed a number of at least 0")
    limit = max(min(A.shape), 100) if max_iter is None else max_iter
    if limit < 1:
        raise SpecError(f"max_iter is {max_iter!r}; needed at least 1")
    with one_blas_thread():
        found: tuple[Any, ...] = lsmr(A, y, damp=math.sqrt(alpha), atol=tol, btol=tol, conlim=1e14, maxiter=limit)
    w, reason, n_iter, residual, gradient = found[:5]
    status = _STATUS[reason] if reason < len(_STATUS) else "max_iter"
    return LeastSquares(np.asarray(w), status, int(n_iter), float(residual), float(gradient))
