"""What is minimised, and how near to the least some coefficients are.

    F(W, b) = (1/S) Σ s ℓ(y, z) + α [ρ ‖W‖₁ + (1−ρ)/2 ‖W‖²],      z = X W + b,   S = Σ s,   b free

    logistic    log(1 + eᶻ) − y z                    softmax    log Σ_c e^{z_c} − z_y
    Poisson, Tweedie(p)    half the unit deviance of y and μ = eᶻ

Everything here is computed with NumPy and SciPy in float64, by none of the systems that are compared. W is (d,), or
(d, K) for the K classes of the softmax and for the K models of a path.

How far F is above its minimum F* is bounded at the best b for W, where ∂F/∂b = 0:

    ρ < 1   F − F* ≤ ‖v‖² / (2 α (1−ρ)),      v the least of the subgradients with respect to W
    ρ = 1   F − F* ≤ F − D(θ),      D(θ) = (1/S) Σ s H(c q),   q = |∂ℓ/∂z|,   c = min(1, α / max_j |∂F₀/∂wⱼ|)

since min_b F is strongly convex in W; and by the dual of the logistic loss, H the entropy of a coin, F₀ the loss alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr, expit, logsumexp, xlogy
from scipy.special import softmax as shares

from benchmarks.rows import Floats, Rows

_PART = 1 << 22  # numbers of z at a time: SciPy copies a float32 matrix to multiply it by float64
_NEWTON_STEPS = 30


class Loss(Protocol):
    """ℓ, row by row."""

    @property
    def name(self) -> str: ...

    def losses(self, y: Floats, z: Floats) -> Floats:
        """ℓ of each row."""
        ...

    def slopes(self, y: Floats, z: Floats) -> Floats:
        """∂ℓ/∂z, shaped as z."""
        ...

    def curvature(self, y: Floats, z: Floats, s: Floats) -> Floats:
        """Σ s ∂²ℓ/∂z², a matrix over the outputs."""
        ...


@dataclass(frozen=True)
class Logistic:
    """log(1 + eᶻ) − y z, y 0 or 1."""

    name: ClassVar[str] = "logistic"

    def losses(self, y: Floats, z: Floats) -> Floats:
        return np.logaddexp(0.0, np.where(y > 0, -z, z))

    def slopes(self, y: Floats, z: Floats) -> Floats:
        return np.where(y > 0, -expit(-z), expit(z))

    def curvature(self, y: Floats, z: Floats, s: Floats) -> Floats:  # noqa: ARG002
        return np.array([[np.sum(s * expit(z) * expit(-z))]])


@dataclass(frozen=True)
class Softmax:
    """log Σ_c e^{z_c} − z_y, y the number of a class."""

    name: ClassVar[str] = "softmax"

    def losses(self, y: Floats, z: Floats) -> Floats:
        own = z[np.arange(len(y)), y.astype(np.intp)]
        return np.asarray(logsumexp(z - own[:, np.newaxis], axis=1))

    def slopes(self, y: Floats, z: Floats) -> Floats:
        p = np.asarray(shares(z, axis=1))
        p[np.arange(len(y)), y.astype(np.intp)] -= 1.0
        return p

    def curvature(self, y: Floats, z: Floats, s: Floats) -> Floats:  # noqa: ARG002
        p = np.asarray(shares(z, axis=1))
        return np.diag(s @ p) - (s[:, np.newaxis] * p).T @ p


@dataclass(frozen=True)
class Tweedie:
    """Half the unit deviance of the variance μᵖ, 1 ≤ p < 2, with the logarithmic link."""

    power: float

    @property
    def name(self) -> str:
        return "poisson" if self.power == 1.0 else "tweedie"

    def losses(self, y: Floats, z: Floats) -> Floats:
        p = self.power
        if p == 1.0:
            return xlogy(y, y) - y * z - y + np.exp(z)
        a, b = 1.0 - p, 2.0 - p
        return y**b / (a * b) - y * np.exp(a * z) / a + np.exp(b * z) / b

    def slopes(self, y: Floats, z: Floats) -> Floats:
        return np.exp((2.0 - self.power) * z) - y * np.exp((1.0 - self.power) * z)

    def curvature(self, y: Floats, z: Floats, s: Floats) -> Floats:
        a, b = 1.0 - self.power, 2.0 - self.power
        return np.array([[np.sum(s * (b * np.exp(b * z) - a * y * np.exp(a * z)))]])


@dataclass(frozen=True)
class Problem:
    """One minimum: of a loss and a penalty."""

    loss: Loss
    alpha: float
    l1_ratio: float = 0.0
    goals: tuple[float, ...] = (1e-2, 1e-3, 1e-4, 1e-6)
    """The relative gaps (F − F*)/F* to which systems are timed."""

    @property
    def kind(self) -> str:
        """What a system must be able to solve."""
        return f"{self.loss.name}-{penalty_name(self.l1_ratio)}"

    @property
    def words(self) -> str:
        """For the page."""
        power = f"({self.loss.power:g})" if isinstance(self.loss, Tweedie) and self.loss.power > 1 else ""
        ratio = f", ρ = {self.l1_ratio:g}" if 0 < self.l1_ratio < 1 else ""
        return f"{self.loss.name}{power}, {penalty_name(self.l1_ratio)}, α = {self.alpha:.6g}{ratio}"

    def values(self, rows: Rows, w: Floats, b: Floats) -> Floats:
        """F, (1,)."""
        loss, step = 0.0, max(_PART // max(np.size(b), 1), 1)
        for start in range(0, len(rows.y), step):
            part = rows.take(np.arange(start, min(start + step, len(rows.y))))
            loss += float(np.sum(part.s * self.loss.losses(part.y, _product(part, w) + b)))
        return np.array([loss / np.sum(rows.s) + self.penalty(w)])

    def bounds(self, rows: Rows, w: Floats, b: Floats) -> Floats:
        """What F is above its minimum at most, (1,)."""
        value, z = float(self.values(rows, w, b)[0]), _product(rows, w)
        s, total = rows.s, float(np.sum(rows.s))
        best = self._intercept(rows, z, b)
        least = float(np.sum(s * self.loss.losses(rows.y, z + best))) / total + self.penalty(w)
        slopes = self.loss.slopes(rows.y, z + best)
        g = np.asarray(rows.X.astype(np.float64).T @ (slopes.T * s).T) / total
        if self.l1_ratio == 1.0:
            steepest = float(np.max(np.abs(g), initial=0.0))
            q = np.abs(slopes) * (min(1.0, self.alpha / steepest) if steepest > 0 else 1.0)
            return np.array([value - float(np.sum(s * (entr(q) + entr(1.0 - q)))) / total])
        v, kink = g + self.alpha * (1.0 - self.l1_ratio) * w, self.alpha * self.l1_ratio
        v = np.where(w != 0, v + kink * np.sign(w), np.sign(v) * np.maximum(np.abs(v) - kink, 0.0))
        above = float(np.sum(v * v)) / (2.0 * self.alpha * (1.0 - self.l1_ratio))
        return np.array([value - least + above])

    def few(self, places: NDArray[np.int64]) -> Problem:  # noqa: ARG002
        """The same problem on some of the rows."""
        return self

    def penalty(self, w: Floats) -> float:
        """α [ρ ‖W‖₁ + (1−ρ)/2 ‖W‖²]."""
        one, two = float(np.sum(np.abs(w))), float(np.sum(w * w))
        return self.alpha * (self.l1_ratio * one + 0.5 * (1.0 - self.l1_ratio) * two)

    def _intercept(self, rows: Rows, z: Floats, b: Floats) -> Floats:
        """The best b for the rest of z, by Newton's method from one that is near."""
        best = np.array(b, np.float64)
        for _ in range(_NEWTON_STEPS):
            slope = np.atleast_1d(np.sum((self.loss.slopes(rows.y, z + best).T * rows.s).T, axis=0))
            step = np.linalg.lstsq(self.loss.curvature(rows.y, z + best, rows.s), slope, rcond=1e-12)[0]
            if np.max(np.abs(step)) <= 1e-15 * max(1.0, float(np.max(np.abs(best)))):
                break
            best = best - step.reshape(best.shape)
        return best


@dataclass(frozen=True, eq=False)
class Path:
    """The models of all folds at all α: (A·M) minima, column a·M + m that of α_a without the rows of fold m.

    ``fold`` (n,) is the fold of each row; ``alphas`` fall.
    """

    loss: Loss
    alphas: Floats
    fold: NDArray[np.int64]
    n_folds: int = 5
    l1_ratio: float = 0.0
    goals: tuple[float, ...] = (1e-2, 1e-3, 1e-4)

    @property
    def kind(self) -> str:
        """What a system must be able to solve."""
        return f"path-{penalty_name(self.l1_ratio)}"

    @property
    def words(self) -> str:
        """For the page."""
        n, first, last = len(self.alphas), self.alphas[0], self.alphas[-1]
        return (
            f"{self.loss.name}, {penalty_name(self.l1_ratio)}, {n} α from {first:.3g} to {last:.3g} × {self.n_folds} "
            f"folds; the gap is the largest of the {n * self.n_folds} models'"
        )

    def parts(self, rows: Rows) -> Iterator[tuple[Problem, Rows]]:
        """The problem of each column, and its rows: those of its fold weigh nothing."""
        for alpha in self.alphas:
            for m in range(self.n_folds):
                weighed = replace(rows, weight=(self.fold != m).astype(np.float64))
                yield Problem(self.loss, float(alpha), self.l1_ratio), weighed

    def values(self, rows: Rows, w: Floats, b: Floats) -> Floats:
        """F of each model, (A·M,)."""
        sums, step = np.zeros((len(self.alphas), self.n_folds)), max(_PART // len(b), 1)
        for start in range(0, len(rows.y), step):
            places = np.arange(start, min(start + step, len(rows.y)))
            part = rows.take(places)
            losses = self.loss.losses(part.y[:, np.newaxis], _product(part, w) + b)
            learns = self.fold[places, np.newaxis] != np.arange(self.n_folds)
            sums += np.einsum("iam,im->am", losses.reshape(len(places), *sums.shape), learns)
        counts = len(rows.y) - np.bincount(self.fold, minlength=self.n_folds)
        penalties = [one.penalty(column) for (one, _), column in zip(self.parts(rows), w.T, strict=True)]
        return np.asarray((sums / counts).ravel() + penalties)

    def bounds(self, rows: Rows, w: Floats, b: Floats) -> Floats:
        """What each F is above its minimum at most, (A·M,)."""
        columns = zip(self.parts(rows), w.T, b, strict=True)
        return np.concatenate([one.bounds(part, column, c) for (one, part), column, c in columns])

    def few(self, places: NDArray[np.int64]) -> Path:
        """The same problem on some of the rows."""
        return replace(self, fold=self.fold[places])


def penalty_name(l1_ratio: float) -> str:
    """L2, L1, or between them the elastic net."""
    return {0.0: "l2", 1.0: "l1"}.get(l1_ratio, "elastic-net")


def _product(rows: Rows, w: Floats) -> Floats:
    return np.asarray(rows.X.astype(np.float64) @ w)
