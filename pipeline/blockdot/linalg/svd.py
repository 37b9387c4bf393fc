"""Truncated singular value decomposition:  A ≈ u diag(s) vt, the k largest singular values.

Both methods find an orthonormal basis Q (d, l) that holds the right singular vectors, and end in the same way:

    A Q = P R (QR, R alone is kept)      R = Û diag(s) Ŵᵀ      v = Q Ŵ      u = A v / s, made orthonormal

which never squares a singular value, as the eigenvalues of AᵀA do, and holds no array of n × l numbers: the rows of A Q
are folded into R as they come, in chunks of a fixed size that take no notice of the blocks.

    randomized   Q = orth((AᵀA)^q Ω), Ω (d, k + 10) normal, orthonormal again after each product. Halko, Martinsson &
                 Tropp, *Finding structure with randomness*, SIAM Review 53 (2011), algorithm 4.4 on the side of the
                 columns; each of the q products reads the data once. The error falls as (σₗ/σᵢ)^2q.
    lanczos      Q from implicitly restarted Lanczos (ARPACK) on AᵀA, which is Golub–Kahan bidiagonalisation of A seen
                 from the columns: one vector a product and some 2k … 20k products, to ``tol``.

The bits depend on the data, the arguments and ``random_state`` alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import scipy.linalg
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from blockdot.blocks.matrix import Floats
from blockdot.errors import NotConvergedError, SpecError
from blockdot.linalg.view import View
from blockdot.vectors import one_blas_thread

Method = Literal["randomized", "lanczos"]

# More directions than were asked for: Halko, Martinsson & Tropp, section 4.2.
_OVERSAMPLING = 10
# Rows of A Q that are folded into R at the same time.
_CHUNK = 4096


class SVD(NamedTuple):
    """u (n, k) and vt (k, d) with orthonormal columns and rows, s (k,) descending."""

    u: Floats
    s: Floats
    vt: Floats


@dataclass(frozen=True, eq=False)
class PCA:
    """Principal components of rows: A − 1 meanᵀ = scores @ components + what is left.

    Attributes
    ----------
    components
        (k, d) orthonormal directions, the one of most variance first.
    scores
        (n, k) the coordinates of the rows.
    explained_variance, explained_variance_ratio
        (k,) the variance of the scores (n − 1 in the denominator), and its share of the variance of all columns.
    singular_values
        (k,) of the centred matrix.
    mean
        (d,) of the columns.
    """

    components: Floats
    scores: Floats
    explained_variance: Floats
    explained_variance_ratio: Floats
    singular_values: Floats
    mean: Floats


def decompose(A: View, k: int, method: Method, n_iter: int, tol: float, random_state: int) -> SVD:
    """The truncated SVD over the features that occur; vt is (k, features that occur)."""
    n, d = A.rows.n_rows, A.rows.n_occurring
    if not 1 <= k <= min(n, d):
        raise SpecError(f"k is {k!r}; needed 1 to {min(n, d)}: there are {n:,} rows, and {d:,} features occur")
    if n_iter < 0:
        raise SpecError(f"n_iter is {n_iter}; needed at least 0")
    rng = np.random.default_rng(random_state)
    with one_blas_thread():
        if d <= k + _OVERSAMPLING:
            basis = np.eye(d)
        elif method == "randomized":
            basis = _sampled_basis(A, k + _OVERSAMPLING, n_iter, rng)
        elif method == "lanczos":
            basis = _lanczos_basis(A, k, tol, rng)
        else:
            raise SpecError(f"method is {method!r}; needed 'randomized' or 'lanczos'")
        R = _triangle(A.times_parts(basis), basis.shape[1])
        _, s, rotation = scipy.linalg.svd(R, full_matrices=False)
        s, v = s[:k], basis @ rotation[:k].T
        v *= _signs(v)
        kept = s > max(n, d) * np.finfo(np.float64).eps * s[0]
        s = np.where(kept, s, 0.0)
        u = A.times(v[:, kept]) if np.any(kept) else np.empty((n, 0))
        u /= s[kept]
        _straighten(u)
        return SVD(_completed(u, k, rng), s, v.T)


def _sampled_basis(A: View, size: int, n_iter: int, rng: np.random.Generator) -> Floats:
    basis = rng.standard_normal((A.rows.n_occurring, size))
    for _ in range(n_iter + 1):
        basis = A.normal(basis)
        basis = _orthonormal(basis)
    return basis


def _orthonormal(basis: Floats) -> Floats:
    return np.asarray(scipy.linalg.qr(basis, mode="economic", overwrite_a=True, check_finite=False)[0])


def _lanczos_basis(A: View, k: int, tol: float, rng: np.random.Generator) -> Floats:
    d = A.rows.n_occurring

    def product(x: Floats) -> Floats:
        return A.normal(x.reshape(d, -1)).reshape(x.shape)

    start = A.normal(rng.standard_normal((d, 1)))[:, 0]
    if not np.any(start):  # a matrix of zeros, to which any basis belongs; ARPACK refuses it
        return _orthonormal(rng.standard_normal((d, k)))
    operator = LinearOperator((d, d), matvec=product, matmat=product, dtype=np.float64)
    try:
        _, vectors = eigsh(operator, k, v0=start, tol=tol, rng=rng)
    except ArpackNoConvergence as error:
        raise NotConvergedError(
            f"{len(error.eigenvalues)} of {k} singular values converged; ask for a larger tol or for fewer, "
            "or take method='randomized'"
        ) from error
    return np.asarray(vectors)


def _triangle(parts: Iterable[Floats], width: int) -> Floats:
    """R of the QR factorisation of all rows, in chunks."""
    R = np.empty((0, width))
    for chunk in _chunks(parts, width):
        R = np.asarray(scipy.linalg.qr(np.concatenate([R, chunk]), mode="r", check_finite=False)[0])[:width]
    return R


def _chunks(parts: Iterable[Floats], width: int) -> Iterator[Floats]:
    held, rows = np.empty((_CHUNK, width)), 0
    for part in parts:
        start = 0
        while start < len(part):
            taken = min(_CHUNK - rows, len(part) - start)
            held[rows : rows + taken] = part[start : start + taken]
            rows, start = rows + taken, start + taken
            if rows == _CHUNK:
                yield held
                rows = 0
    if rows:
        yield held[:rows]


def _straighten(u: Floats) -> None:
    """Make columns that are orthonormal but for rounding (ε σ₁/σᵢ in column i) orthonormal, from the first to the last.

    u ← u R⁻¹ of u = P R: R is near 1, so the triangular product is as good as P.
    """
    if not u.shape[1]:
        return
    R = _triangle([u], u.shape[1])
    R *= np.sign(np.diag(R))[:, np.newaxis]
    for start in range(0, len(u), _CHUNK):
        rows = u[start : start + _CHUNK]
        rows[:] = scipy.linalg.solve_triangular(R, rows.T, trans="T", check_finite=False).T


def _signs(v: Floats) -> Floats:
    """What makes the largest entry of each column positive: a decomposition has one sign a component to choose."""
    return np.where(v[np.argmax(np.abs(v), axis=0), np.arange(v.shape[1])] < 0, -1.0, 1.0)


def _completed(u: Floats, k: int, rng: np.random.Generator) -> Floats:
    """``u`` with orthonormal columns for the singular values that are 0, up to k of them."""
    missing = k - u.shape[1]
    if not missing:
        return u
    more = rng.standard_normal((len(u), missing))
    for _ in range(2):
        more -= u @ (u.T @ more)
        more = _orthonormal(more)
    return np.column_stack([u, more])
