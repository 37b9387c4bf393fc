"""Losses of K classes: z is (n, K), one column a class, and y holds the numbers 0 … K − 1 of the classes.

    softmax                 log Σ_c e^{z_c} − z_y                        prediction p = e^{z_c} / Σ e^{z_c}
    binary cross-entropy    Σ_c [log(1 + e^{z_c}) − y_c z_c]             prediction σ(z_c)

    softmax:   ∂ℓ/∂z = p − e_y          Hessian  diag(p) − p pᵀ          (Bishop, *PRML* (2006), eqs. 4.108–4.110)

e_y is the unit vector of the class y. In the binary cross-entropy y_c is [y = c], one against the rest; or y is (n, K)
itself, 0 or 1 for each of K labels of a row.

Differences that cancel are not formed: of the row's class the softmax gradient is −Σ_{c≠y} p_c, and its loss is the
log1p of what the other classes add, so that rows on the right side keep their digits as the logistic loss does. Both
losses are compiled (softmax_kernel.py, logistic_kernel.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blockdot.buffers import empty
from blockdot.errors import SpecError
from blockdot.objective import softmax_kernel
from blockdot.objective.losses import Fault, Logistic, Weights, first_fault
from blockdot.vectors import Vector

_LOGISTIC = Logistic()


@dataclass(frozen=True)
class Softmax:
    """The multinomial logistic loss of ``outputs`` classes."""

    outputs: int

    is_convex = True

    def __post_init__(self) -> None:
        _check_outputs(self.outputs, 2)

    def value(self, y: Vector, z: Vector, s: Weights) -> float:
        """Σ s [log Σ_c e^{z_c} − z_y]."""
        value: float = softmax_kernel.value_and_grad(y, np.ascontiguousarray(z), _of_rows(s, z), None)
        return value

    def value_and_grad(self, y: Vector, z: Vector, s: Weights) -> tuple[float, Vector]:
        """The value, and s (p − e_y); (n, K)."""
        grad = empty(z.shape)
        value = softmax_kernel.value_and_grad(y, np.ascontiguousarray(z), _of_rows(s, z), grad)
        return value, grad

    def hess_dot(self, y: Vector, z: Vector, s: Weights, u: Vector) -> Vector:  # noqa: ARG002
        """s (p∘u − p (p·u)); (n, K)."""
        product = empty(z.shape)
        softmax_kernel.hess_dot(np.ascontiguousarray(z), _of_rows(s, z), np.ascontiguousarray(u), product)
        return product

    def conjugate(self, y: Vector, u: Vector) -> Vector:
        """P_c log p_c, p = u + e_y, whose sum over the classes it is; (n, K)."""
        from scipy.special import xlogy

        p = np.maximum(u + self._units(y), 0.0)
        return np.asarray(xlogy(p, p))

    def slope_sums(self, y: Vector, slope: Vector, s: Weights) -> Vector:
        """(2, K) Σ s p and Σ s e_y, which are the same where the intercepts are at their best."""
        own = self._units(y)
        return np.stack([np.sum(_beside(s) * part, axis=0) for part in (slope + own, own)])

    def balanced(self, y: Vector, slope: Vector, sums: Vector) -> Vector:
        """(1 − θ) p + r − e_y, r_c = (S_c − (1 − θ) P_c)/S, with the least θ for which no r_c is below 0.

        P and S_c are the ``sums``: so Σ s of it is 0, and it is p' − e_y of a p' that is a distribution.
        """
        p_sums, shares = sums
        theta = max(float(np.max(1.0 - shares / np.where(p_sums > 0.0, p_sums, np.inf))), 0.0)
        own = self._units(y)
        rest = np.maximum(shares - (1.0 - theta) * p_sums, 0.0) / np.sum(shares)
        return np.asarray((1.0 - theta) * (slope + own) + rest - own)

    def hess_diag(self, y: Vector, z: Vector, s: Weights) -> Vector:  # noqa: ARG002
        """s p (1 − p); (n, K)."""
        p = self.predict(z)
        return _beside(s) * p * (1.0 - p)

    def predict(self, z: Vector) -> Vector:
        """The probabilities p of the classes; (n, K)."""
        p = empty(z.shape)
        softmax_kernel.probabilities(np.ascontiguousarray(z), p)
        return p

    def check(self, y: Vector) -> Fault | None:
        """Only numbers of classes."""
        return first_fault(y, _are_classes(y, self.outputs), f"Softmax({self.outputs})", _class_numbers(self.outputs))

    def start_z(self, y_mean: Vector) -> Vector:
        """log p, p the shares of the classes, less its mean; every class must have a share."""
        z = np.log(y_mean)
        return np.asarray(z - np.mean(z))

    def _units(self, y: Vector) -> Vector:
        """e_y; (n, K)."""
        return np.asarray(y[:, np.newaxis] == np.arange(self.outputs), np.float64)


@dataclass(frozen=True)
class BinaryCrossEntropy:
    """The logistic losses of ``outputs`` classes, each for itself: one against the rest, or any labels."""

    outputs: int

    is_convex = True
    self_concordance = 1.0

    def __post_init__(self) -> None:
        _check_outputs(self.outputs, 1)

    def value(self, y: Vector, z: Vector, s: Weights) -> float:
        """Σ s Σ_c [log(1 + e^{z_c}) − y_c z_c]."""
        return _LOGISTIC.value(self._labels(y), z, _beside(s))

    def value_and_grad(self, y: Vector, z: Vector, s: Weights) -> tuple[float, Vector]:
        """The value, and s (σ(z_c) − y_c); (n, K)."""
        return _LOGISTIC.value_and_grad(self._labels(y), z, _beside(s))

    def hess_dot(self, y: Vector, z: Vector, s: Weights, u: Vector) -> Vector:
        """s σ(z_c) (1 − σ(z_c)) u_c; (n, K)."""
        return _LOGISTIC.hess_dot(y, z, _beside(s), u)

    def conjugate(self, y: Vector, u: Vector) -> Vector:
        """That of the logistic loss for each class; (n, K)."""
        return _LOGISTIC.conjugate(self._labels(y), u)

    def predict(self, z: Vector) -> Vector:
        """σ(z), the probability of each class for itself; (n, K)."""
        return _LOGISTIC.predict(z)

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

    def _labels(self, y: Vector) -> Vector:
        """1 where a row has the label of the column, else 0; (n, K)."""
        if y.ndim == 2:
            return y
        labels = np.zeros((len(y), self.outputs))
        labels[np.arange(len(y)), y.astype(np.intp)] = 1.0
        return labels


def _of_rows(s: Weights, z: Vector) -> Vector | None:
    """One weight a row; None where all are 1."""
    if isinstance(s, float) and s == 1.0:
        return None
    return np.ascontiguousarray(np.broadcast_to(np.asarray(s, np.float64), len(z)))


def _beside(s: Weights) -> Weights:
    """The weights of rows as a column beside (n, K) numbers."""
    return s if isinstance(s, float) else s[:, np.newaxis]


def _are_classes(y: Vector, outputs: int) -> NDArray[np.bool_]:
    whole: NDArray[np.bool_] = y == np.floor(y)
    return whole & (y >= 0.0) & (y < outputs)


def _class_numbers(outputs: int) -> str:
    return f"class numbers, 0 to {outputs - 1}"


def _check_outputs(outputs: object, least: int) -> None:
    if not isinstance(outputs, (int, np.integer)) or isinstance(outputs, bool) or outputs < least:
        raise SpecError(f"outputs is {outputs!r}; needed a whole number of classes, at least {least}")
