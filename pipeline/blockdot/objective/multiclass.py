"""Losses of K classes: z is (n, K), one column a class, and y holds the numbers 0 … K − 1 of the classes.

    softmax                 log Σ_c e^{z_c} − z_y                        prediction p = e^{z_c} / Σ e^{z_c}
    binary cross-entropy    Σ_c [log(1 + e^{z_c}) − y_c z_c]             prediction σ(z_c)

    softmax:   ∂ℓ/∂z = p − e_y          Hessian  diag(p) − p pᵀ          (Bishop, *PRML* (2006), eqs. 4.108–4.110)

e_y is the unit vector of the class y. In the binary cross-entropy y_c is [y = c], one against the rest; or y is (n, K)
itself, 0 or 1 for each of K labels of a row.

Differences that cancel are not formed: of the row's class the softmax gradient is −Σ_{c≠y} p_c, and its loss is the
log1p of what the other classes add, so that rows on the right side keep their digits as the logistic loss does.

Rows are worked on some at a time, few enough for the cache, and turned over, to (K, rows): NumPy's loops run along the
last axis, and K can be 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blockdot.errors import SpecError
from blockdot.objective.losses import Fault, Logistic, Weights, first_fault
from blockdot.vectors import Vector

_LOGISTIC = Logistic()
_CELLS = 16_384  # numbers of one array that is worked on: several of them fit the second-level cache
_LEAST_ROWS = 512  # of many classes: turning shorter runs of rows over costs more than the cache saves


@dataclass(frozen=True)
class Softmax:
    """The multinomial logistic loss of ``outputs`` classes."""

    outputs: int

    def __post_init__(self) -> None:
        _check_outputs(self.outputs, 2)

    def value(self, y: Vector, z: Vector, s: Weights) -> float:
        """Σ s [log Σ_c e^{z_c} − z_y]."""
        value = 0.0
        for rows, piece in _pieces(z):
            losses, _, _ = self._parts(_own(y[rows]), piece)
            value += float(np.sum(_part(s, rows) * losses))
        return value

    def value_and_grad(self, y: Vector, z: Vector, s: Weights) -> tuple[float, Vector]:
        """The value, and s (p − e_y); (n, K)."""
        value, grad = 0.0, np.empty(z.shape)
        for rows, piece in _pieces(z):
            own, weight = _own(y[rows]), _part(s, rows)
            losses, others, total = self._parts(own, piece)
            value += float(np.sum(weight * losses))
            scale = weight / total
            piece *= scale
            piece[own] = -others * scale
            grad[rows] = piece.T
        return value, grad

    def hess_dot(self, y: Vector, z: Vector, s: Weights, u: Vector) -> Vector:  # noqa: ARG002
        """s (p∘u − p (p·u)); (n, K)."""

        def product(rows: slice, piece: Vector) -> Vector:
            p, out = _probabilities(piece), u[rows].T.copy()
            out -= (p * out).sum(axis=0)
            p *= _part(s, rows)
            out *= p
            return out

        return _by_pieces(z, product)

    def hess_diag(self, y: Vector, z: Vector, s: Weights) -> Vector:  # noqa: ARG002
        """s p (1 − p); (n, K)."""

        def diagonal(rows: slice, piece: Vector) -> Vector:
            p = _probabilities(piece)
            out = 1.0 - p
            p *= _part(s, rows)
            out *= p
            return out

        return _by_pieces(z, diagonal)

    def predict(self, z: Vector) -> Vector:
        """The probabilities p of the classes; (n, K)."""
        return _by_pieces(z, lambda _, piece: _probabilities(piece))

    def check(self, y: Vector) -> Fault | None:
        """Only numbers of classes."""
        return first_fault(y, _are_classes(y, self.outputs), f"Softmax({self.outputs})", _class_numbers(self.outputs))

    def start_z(self, y_mean: Vector) -> Vector:
        """log p, p the shares of the classes, less its mean; every class must have a share."""
        z = np.log(y_mean)
        return np.asarray(z - np.mean(z))

    def _parts(self, own: _Place, piece: Vector) -> tuple[Vector, Vector, Vector]:
        """The losses, and Σ e^{z − max z} of the other classes and of all; ``piece`` becomes the terms, 0 at own."""
        piece -= piece.max(axis=0)
        behind = piece[own]
        np.exp(piece, out=piece)
        piece[own] = 0.0
        others, at_own = piece.sum(axis=0), np.exp(behind)
        return np.log1p(others + (at_own - 1.0)) - behind, others, others + at_own


@dataclass(frozen=True)
class BinaryCrossEntropy:
    """The logistic losses of ``outputs`` classes, each for itself: one against the rest, or any labels."""

    outputs: int

    self_concordance = 1.0

    def __post_init__(self) -> None:
        _check_outputs(self.outputs, 1)

    def value(self, y: Vector, z: Vector, s: Weights) -> float:
        """Σ s Σ_c [log(1 + e^{z_c}) − y_c z_c]."""
        value = 0.0
        for rows, piece in _pieces(z):
            if y.ndim == 2:
                value += _LOGISTIC.value(y[rows].T, piece, _part(s, rows))
                continue
            _mirror(piece, _own(y[rows]))
            value += float(np.sum(_part(s, rows) * _softplus(piece, _falling(piece)).sum(axis=0)))
        return value

    def value_and_grad(self, y: Vector, z: Vector, s: Weights) -> tuple[float, Vector]:
        """The value, and s (σ(z_c) − y_c); (n, K)."""
        value, grad = 0.0, np.empty(z.shape)
        for rows, piece in _pieces(z):
            weight = _part(s, rows)
            if y.ndim == 2:
                more, slopes = _LOGISTIC.value_and_grad(y[rows].T, piece, weight)
            else:
                more, slopes = self._one_against_the_rest(_own(y[rows]), piece, weight)
            value += more
            grad[rows] = slopes.T
        return value, grad

    def hess_dot(self, y: Vector, z: Vector, s: Weights, u: Vector) -> Vector:
        """s σ(z_c) (1 − σ(z_c)) u_c; (n, K)."""
        return _by_pieces(z, lambda rows, piece: _LOGISTIC.hess_dot(y, piece, _part(s, rows), u[rows].T))

    def predict(self, z: Vector) -> Vector:
        """σ(z), the probability of each class for itself; (n, K)."""
        return _by_pieces(z, lambda _, piece: _sigmoid(piece, _falling(piece)))

    def check(self, y: Vector) -> Fault | None:
        """Numbers of classes; 0 and 1 where y is (n, K)."""
        name = f"BinaryCrossEntropy({self.outputs})"
        if y.ndim == 2:
            return first_fault(y, (y == 0.0) | (y == 1.0), name, "0 or 1")
        return first_fault(y, _are_classes(y, self.outputs), name, _class_numbers(self.outputs))

    def start_z(self, y_mean: Vector) -> Vector:
        """log(p_c/(1 − p_c)), p the shares of the classes; 0 where one has all rows or none."""
        inside = (y_mean > 0.0) & (y_mean < 1.0)
        p = np.where(inside, y_mean, 0.5)
        return np.asarray(np.log(p) - np.log1p(-p))

    def _one_against_the_rest(self, own: _Place, piece: Vector, weight: Weights) -> tuple[float, Vector]:
        _mirror(piece, own)
        falling = _falling(piece)
        value = float(np.sum(weight * _softplus(piece, falling).sum(axis=0)))
        slopes = _sigmoid(piece, falling)
        slopes *= weight
        _mirror(slopes, own)
        return value, slopes


_Place = tuple[NDArray[np.intp], NDArray[np.intp]]
"""Where in a piece the rows' own classes are."""


def _pieces(z: Vector) -> Iterator[tuple[slice, Vector]]:
    """Some rows at a time, and z there as a (K, rows) copy that may be written to."""
    step = max(_LEAST_ROWS, _CELLS // z.shape[1])
    for start in range(0, len(z), step):
        rows = slice(start, start + step)
        yield rows, z[rows].T.copy()


def _by_pieces(z: Vector, compute: Callable[[slice, Vector], Vector]) -> Vector:
    """An array like z, of what is computed of its pieces."""
    out = np.empty(z.shape)
    for rows, piece in _pieces(z):
        out[rows] = compute(rows, piece).T
    return out


def _probabilities(piece: Vector) -> Vector:
    """p, in the place of z."""
    piece -= piece.max(axis=0)
    np.exp(piece, out=piece)
    piece /= piece.sum(axis=0)
    return piece


def _mirror(piece: Vector, own: _Place) -> None:
    """Change the sign at the rows' own classes: σ(z) − 1 = −σ(−z), and log(1 + eᶻ) − z = log(1 + e⁻ᶻ)."""
    piece[own] = -piece[own]


def _falling(z: Vector) -> Vector:
    """e^−|z|."""
    e = np.abs(z)
    np.negative(e, out=e)
    return np.exp(e, out=e)


def _sigmoid(z: Vector, falling: Vector) -> Vector:
    """σ(z) = min(1, eᶻ)/(1 + e^−|z|): another exponential is faster than a branch."""
    out = np.minimum(z, 0.0)
    np.exp(out, out=out)
    out /= 1.0 + falling
    return out


def _softplus(z: Vector, falling: Vector) -> Vector:
    """log(1 + eᶻ)."""
    out = np.log1p(falling)
    out += np.maximum(z, 0.0)
    return out


def _own(y: Vector) -> _Place:
    return y.astype(np.intp), np.arange(len(y))


def _part(s: Weights, rows: slice) -> Weights:
    return s if isinstance(s, float) else s[rows]


def _are_classes(y: Vector, outputs: int) -> NDArray[np.bool_]:
    whole: NDArray[np.bool_] = y == np.floor(y)
    return whole & (y >= 0.0) & (y < outputs)


def _class_numbers(outputs: int) -> str:
    return f"class numbers, 0 to {outputs - 1}"


def _check_outputs(outputs: object, least: int) -> None:
    if not isinstance(outputs, (int, np.integer)) or isinstance(outputs, bool) or outputs < least:
        raise SpecError(f"outputs is {outputs!r}; needed a whole number of classes, at least {least}")
