"""What a loss says of the distribution of y, as far as standard errors need it.

For each of the R outputs that are parameters, row by row, u = ∂ℓ/∂z, and for each pair a ≤ b of them

    information   E ∂²ℓ/∂z_a∂z_b        what H is made of
    variance      Cov(u_a, u_b)         what the estimates vary by

                  R      information and variance                          penalty
    one output    1      μ'²/Var(μ), at dispersion 1                       α
    softmax       K − 1  p_a (δ_ab − p_b), of all classes but the          α (δ_ab − 1/K)
                         reference r: z_a − z_r is what is estimated
    one-vs-rest   K      p_a (1 − p_a) δ_ab,   p_a (δ_ab − p_b)            α δ_ab

(McCullagh & Nelder, *Generalized Linear Models*, 2nd ed. (1989), sections 2.5 and 5.4.) One number more on every class
changes no probability of the softmax, so its z are known up to their differences alone, and its Hessian is singular;
that of the differences to a reference is not. A penalty α/2 Σ_c ‖w_c‖² is least, of all w with these differences, where
the w_c add up to 0: so the differences are penalised by α/2 (Σ_a ‖β_a‖² − ‖Σ_a β_a‖²/K). One-vs-rest is K models of
two classes; a row is of one class alone, so their scores are correlated, and their information is not. So are L labels
a row, but for the correlation, which is not known; robust errors estimate it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from blockdot.objective.binomial import Binomial
from blockdot.objective.families import Poisson
from blockdot.objective.family import Family, weighted
from blockdot.objective.losses import Loss, Weights
from blockdot.vectors import Vector


class Likelihood(Protocol):
    """The distribution of y that a loss stands for: picklable, and of rows alone."""

    @property
    def loss(self) -> Loss:
        """A loss whose ``hess_dot`` is the information."""
        ...

    @property
    def free(self) -> NDArray[np.intp]:
        """Which of the outputs are parameters."""
        ...

    @property
    def reference(self) -> int | None:
        """The output that the others are differences to."""
        ...

    @property
    def ridge(self) -> Vector:
        """(R, R) how a penalty of strength 1 couples the parameters of a feature."""
        ...

    @property
    def is_joint(self) -> bool:
        """Whether it is one likelihood, and not several models by themselves whose totals are sums."""
        ...

    @property
    def estimates_dispersion(self) -> bool: ...

    def scores(self, y: Vector, z: Vector, s: Weights) -> Vector:
        """(n, R) s ∂ℓ/∂z."""
        ...

    def information(self, z: Vector, s: Weights) -> Vector:
        """(n, P) of the pairs, times s."""
        ...

    def variance(self, z: Vector, s: Weights) -> Vector:
        """(n, P) of the pairs, times s."""
        ...

    def totals(self, y: Vector, z: Vector, s: Weights) -> tuple[float, float]:
        """Pearson's χ², and the deviance."""
        ...

    def log_likelihood(self, y: Vector, z: Vector, s: Weights, dispersion: float, *, prior: bool) -> float | None:
        """None where there is none in closed form; ``prior`` says that weights are the precision of one row."""
        ...


def pairs(r: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The pairs a ≤ b of 0 … r−1, in the order in which their numbers are given."""
    a, b = np.triu_indices(r)
    return a, b


@dataclass(frozen=True)
class ExpectedCurvature:
    """A GLM whose second derivative is its expected value, s μ'²/Var(μ)."""

    family: Any

    def value(self, y: Vector, z: Vector, s: Weights) -> float:
        """Of the family."""
        return float(self.family.value(y, z, s))

    def value_and_grad(self, y: Vector, z: Vector, s: Weights) -> tuple[float, Vector]:
        """Of the family."""
        value, grad = self.family.value_and_grad(y, z, s)
        return value, grad

    def hess_dot(self, y: Vector, z: Vector, s: Weights, u: Vector) -> Vector:  # noqa: ARG002
        """S μ'²/Var(μ) u."""
        return weighted(np.asarray(self.family.information(z)), s) * u

    def predict(self, z: Vector) -> Vector:
        """μ."""
        return np.asarray(self.family.predict(z))


@dataclass(frozen=True)
class OneOutput:
    """A generalised linear model."""

    family: Family

    free = np.zeros(1, np.intp)
    reference = None
    ridge = np.ones((1, 1))
    is_joint = True

    @property
    def loss(self) -> ExpectedCurvature:
        return ExpectedCurvature(self.family)

    @property
    def estimates_dispersion(self) -> bool:
        """Not of counts and classes."""
        return not isinstance(self.family, (Poisson, Binomial))

    def scores(self, y: Vector, z: Vector, s: Weights) -> Vector:
        """(n, 1)."""
        return self.family.value_and_grad(y, z, s)[1][:, np.newaxis]

    def information(self, z: Vector, s: Weights) -> Vector:
        """(n, 1)."""
        return self.loss.hess_dot(z, z, s, np.ones_like(z))[:, np.newaxis]

    variance = information

    def totals(self, y: Vector, z: Vector, s: Weights) -> tuple[float, float]:
        """Of the family."""
        return self.family.pearson(y, z, s), self.family.deviance_at(y, z, s)

    def log_likelihood(self, y: Vector, z: Vector, s: Weights, dispersion: float, *, prior: bool) -> float | None:
        """NaN of some of Tweedie's."""
        if prior and not isinstance(s, float):
            return self.family.prior_loglik(y, z, s, dispersion)
        return self.family.loglik(y, z, s, dispersion)


@dataclass(frozen=True)
class _Classes:
    """Of ``loss``, which has an output for each of K classes."""

    loss: Any

    estimates_dispersion = False

    @property
    def classes(self) -> int:
        """K."""
        return int(self.loss.outputs)

    def scores(self, y: Vector, z: Vector, s: Weights) -> Vector:
        """(n, R)."""
        return np.asarray(self.loss.value_and_grad(y, z, s)[1])[:, self.free]

    def variance(self, z: Vector, s: Weights) -> Vector:
        """S p_a (δ_ab − p_b): of y that is 1 for one class and 0 for the others."""
        a, b = pairs(len(self.free))
        p = self.loss.predict(z)[:, self.free]
        product = np.where(a == b, p[:, a] * (1.0 - p[:, b]), -p[:, a] * p[:, b])
        return np.asarray(product * np.reshape(s, (-1, 1)))

    @property
    def free(self) -> NDArray[np.intp]:
        """All classes."""
        return np.arange(self.classes)


@dataclass(frozen=True)
class Multinomial(_Classes):
    """Softmax: one likelihood of all classes, of their differences to the class ``reference``."""

    reference: int

    is_joint = True

    @property
    def free(self) -> NDArray[np.intp]:
        """All but the reference."""
        return np.delete(np.arange(self.classes), self.reference)

    @property
    def ridge(self) -> Vector:
        """1 − 1/K on the diagonal, −1/K beside it."""
        return np.eye(self.classes - 1) - 1.0 / self.classes

    def information(self, z: Vector, s: Weights) -> Vector:
        """The same as the variance: the link is the canonical one."""
        return self.variance(z, s)

    def totals(self, y: Vector, z: Vector, s: Weights) -> tuple[float, float]:
        """Σ s (1/p − 1) with p of the row's class, which is Σ_c (y_c − p_c)²/p_c; and −2 Σ s log p."""
        own = self.loss.predict(z)[np.arange(len(y)), y.astype(np.intp)]
        with np.errstate(divide="ignore"):
            return float(np.sum(weighted(1.0 / own - 1.0, s))), 2.0 * float(self.loss.value(y, z, s))

    def log_likelihood(
        self,
        y: Vector,
        z: Vector,
        s: Weights,
        dispersion: float,  # noqa: ARG002
        *,
        prior: bool,  # noqa: ARG002
    ) -> float | None:
        """Σ s log p."""
        return -float(self.loss.value(y, z, s))


@dataclass(frozen=True)
class Separate(_Classes):
    """K models of two classes: one class against the rest, or labels of which a row can have any number."""

    reference = None
    is_joint = False
    exclude_each_other: bool = True
    """Whether a row is of one class alone."""

    @property
    def ridge(self) -> Vector:
        """The identity."""
        return np.eye(self.classes)

    def information(self, z: Vector, s: Weights) -> Vector:
        """That of each class by itself."""
        a, b = pairs(self.classes)
        return np.where(a == b, super().variance(z, s), 0.0)

    def variance(self, z: Vector, s: Weights) -> Vector:
        """That of a row of one class; of labels, whose correlation the models do not know, as if there were none."""
        return super().variance(z, s) if self.exclude_each_other else self.information(z, s)

    def totals(self, y: Vector, z: Vector, s: Weights) -> tuple[float, float]:
        """Sums over the classes of those of two classes, of which Pearson's is Σ s e^(−t z), t = ±1."""
        members = y > 0.0 if y.ndim == 2 else y[:, np.newaxis] == np.arange(self.classes)
        t = np.where(members, -1.0, 1.0)
        with np.errstate(over="ignore"):
            pearson = np.sum(np.exp(t * z), axis=1)
        return float(np.sum(weighted(pearson, s))), 2.0 * float(self.loss.value(y, z, s))

    def log_likelihood(self, y: Vector, z: Vector, s: Weights, dispersion: float, *, prior: bool) -> None:
        """None: how the classes, or labels, of a row depend on each other K models by themselves do not know."""
