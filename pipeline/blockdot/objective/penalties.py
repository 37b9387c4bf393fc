"""Penalties on weights, those of features and of later layers; an intercept is never penalised.

    L2           α/2 Σⱼ wⱼ²
    ElasticNet   α [ ρ Σⱼ pⱼ|wⱼ| + (1−ρ)/2 Σⱼ pⱼ wⱼ² ],   and wⱼ in [lⱼ, uⱼ]
    GroupLasso   α [ ρ Σ_G √|G| ‖w_G‖ + (1−ρ)/2 Σⱼ wⱼ² ]
    Tikhonov     ½ wᵀ Γ w,   Γ by its products

A penalty has a smooth part, which it evaluates itself, and may have a rest that is not smooth: its ``term``
(terms.py). It sees the whole parameter vector and how it is laid out; what is given for each feature is in the order of
the data set's table, the most frequent first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from blockdot.blocks.layout import Layout
from blockdot.buffers import empty
from blockdot.errors import SpecError
from blockdot.objective.terms import Groups, Separable, Term
from blockdot.vectors import Vector, inner


class Penalty(Protocol):
    """A penalty: ``value``, ``grad``, ``hess_dot`` and ``hess_diag`` are those of its smooth part."""

    @property
    def strong_convexity(self) -> float:
        """The largest α for which the penalty less α/2 ‖w‖² (w without the tail) is convex; 0 if there is none."""
        ...

    def value(self, w: Vector, layout: Layout) -> float: ...

    def grad(self, w: Vector, layout: Layout) -> Vector: ...

    def hess_dot(self, v: Vector, layout: Layout) -> Vector: ...

    def hess_diag(self, size: int, layout: Layout) -> Vector:
        """The diagonal of the Hessian, for a parameter vector of ``size`` numbers."""
        ...

    @property
    def is_diagonal(self) -> bool:
        """Whether the Hessian has nothing beside its diagonal."""
        ...

    def term(self, size: int, layout: Layout) -> Term | None:
        """What is not smooth, over parameter vectors of ``size`` numbers; None for a smooth penalty."""
        ...


@dataclass(frozen=True)
class L2:
    """α/2 ‖w‖², the squared norm that shrinks parameters towards 0."""

    alpha: float = 0.0

    is_diagonal = True

    def __post_init__(self) -> None:
        _check_alpha(self.alpha)

    @property
    def strong_convexity(self) -> float:
        """α."""
        return float(self.alpha)

    def value(self, w: Vector, layout: Layout) -> float:
        """α/2 Σ w²."""
        weights = w[: len(w) - layout.free]
        return 0.5 * self.alpha * inner(weights, weights)

    def grad(self, w: Vector, layout: Layout) -> Vector:
        """α w, and 0 for the tail."""
        return self.hess_dot(w, layout)

    def hess_dot(self, v: Vector, layout: Layout) -> Vector:
        """α v, and 0 for the tail."""
        out: Vector = np.multiply(v, self.alpha, out=empty(v.shape))
        out[len(v) - layout.free :] = 0.0
        return out

    def hess_diag(self, size: int, layout: Layout) -> Vector:
        """α, and 0 for the tail."""
        out: Vector = empty(size)
        out.fill(self.alpha)
        out[size - layout.free :] = 0.0
        return out

    def term(self, size: int, layout: Layout) -> None:
        """None: it is smooth."""


@dataclass(frozen=True, eq=False)
class ElasticNet:
    """The elastic net, with a weight for each feature, and bounds.

    Parameters
    ----------
    alpha, l1_ratio
        α at least 0, ρ in [0, 1].
    weights
        p, (k,) numbers of at least 0, where 0 leaves a feature unpenalised; None for ones.
    lower, upper
        Bounds of w, a number, (k,) numbers, or (k, K) for each of K outputs; every box must hold a number.
    """

    alpha: float = 0.0
    l1_ratio: float = 0.0
    weights: Vector | None = None
    lower: Vector | float = -math.inf
    upper: Vector | float = math.inf

    is_diagonal = True

    def __post_init__(self) -> None:
        _check_alpha(self.alpha)
        if not (isinstance(self.l1_ratio, (int, float, np.number)) and 0 <= self.l1_ratio <= 1):
            raise SpecError(f"l1_ratio is {self.l1_ratio!r}; needed a number from 0 (L2 alone) to 1 (L1 alone)")
        if self.weights is not None and not (np.all(np.isfinite(self.weights)) and np.all(self.weights >= 0)):
            raise SpecError("penalty_weights has a number that is negative or not finite; needed 0 or more")
        if not np.all(np.asarray(self.lower) <= np.asarray(self.upper)):
            raise SpecError("a lower bound is above its upper bound; needed lower <= upper for every feature")

    @property
    def strong_convexity(self) -> float:
        """α (1−ρ) min p."""
        least = 1.0 if self.weights is None else float(np.min(self.weights, initial=math.inf))
        return float(self.alpha * (1.0 - self.l1_ratio)) * least if math.isfinite(least) else 0.0

    def value(self, w: Vector, layout: Layout) -> float:
        """α (1−ρ)/2 Σ p w²."""
        return 0.5 * inner(w, self.hess_dot(w, layout))

    def grad(self, w: Vector, layout: Layout) -> Vector:
        """α (1−ρ) p w, and 0 for the tail."""
        return self.hess_dot(w, layout)

    def hess_dot(self, v: Vector, layout: Layout) -> Vector:
        """α (1−ρ) p v, and 0 for the tail."""
        out = self.hess_diag(len(v), layout)
        out *= v
        return out

    def hess_diag(self, size: int, layout: Layout) -> Vector:
        """α (1−ρ) p, and 0 for the tail."""
        return self._spread(self.alpha * (1.0 - self.l1_ratio), size, layout)

    def term(self, size: int, layout: Layout) -> Separable | None:
        """α ρ p |w| and the box; None where there is neither."""
        bounds = [_flat(np.asarray(bound), size, layout, free) for bound, free in
                  ((self.lower, -math.inf), (self.upper, math.inf))]  # fmt: skip
        l1 = self._spread(self.alpha * self.l1_ratio, size, layout)
        if not np.any(l1) and not any(np.any(np.isfinite(bound)) for bound in bounds):
            return None
        return Separable(l1, *bounds)

    def taken(self, kept: NDArray[np.int64]) -> ElasticNet:
        """Of some of the features alone."""

        def own(numbers: Vector | float) -> Vector | float:
            return numbers if np.ndim(numbers) == 0 else np.asarray(numbers)[kept]

        weights = None if self.weights is None else self.weights[kept]
        return ElasticNet(self.alpha, self.l1_ratio, weights, own(self.lower), own(self.upper))

    def _spread(self, strength: float, size: int, layout: Layout) -> Vector:
        values = strength * np.asarray(1.0 if self.weights is None else self.weights)
        return _flat(values, size, layout, 0.0, later=strength)


@dataclass(frozen=True, eq=False)
class GroupLasso:
    """Whole groups of features are kept or dropped: ``groups`` (k,) says to which group 0, 1, … each feature belongs.

    With K outputs a feature's K parameters stay together; of several ``models`` (columns.py) each has its own groups.
    Yuan & Lin, J. R. Statist. Soc. B 68 (2006).
    """

    alpha: float
    groups: NDArray[np.int64]
    l1_ratio: float = 1.0
    models: int = 1
    sizes: NDArray[np.int64] | None = None
    """|G| of each group; None where all of its features are among the k."""

    is_diagonal = True

    def __post_init__(self) -> None:
        _check_alpha(self.alpha)
        if not 0 <= self.l1_ratio <= 1:
            raise SpecError(f"l1_ratio is {self.l1_ratio!r}; needed a number from 0 (L2 alone) to 1 (groups alone)")

    @property
    def strong_convexity(self) -> float:
        """α (1−ρ)."""
        return self._ridge.strong_convexity

    def value(self, w: Vector, layout: Layout) -> float:
        """α (1−ρ)/2 Σ w²."""
        return self._ridge.value(w, layout)

    def grad(self, w: Vector, layout: Layout) -> Vector:
        """α (1−ρ) w, and 0 for the tail."""
        return self._ridge.grad(w, layout)

    def hess_dot(self, v: Vector, layout: Layout) -> Vector:
        """α (1−ρ) v, and 0 for the tail."""
        return self._ridge.hess_dot(v, layout)

    def hess_diag(self, size: int, layout: Layout) -> Vector:
        """α (1−ρ), and 0 for the tail."""
        return self._ridge.hess_diag(size, layout)

    def term(self, size: int, layout: Layout) -> Groups | None:
        """α ρ Σ √|G| ‖w_G‖."""
        if not self.alpha * self.l1_ratio:
            return None
        own = np.repeat(np.arange(self.models), layout.width // self.models)
        groups = self.groups[:, np.newaxis] * self.models + own
        sizes = np.bincount(self.groups) if self.sizes is None else self.sizes
        roots = np.sqrt(np.repeat(sizes * (layout.width // self.models), self.models))
        return Groups(self.alpha * self.l1_ratio, groups.ravel(), size, roots)

    @property
    def _ridge(self) -> L2:
        return L2(self.alpha * (1.0 - self.l1_ratio))


@dataclass(frozen=True, eq=False)
class Tikhonov:
    """½ wᵀ Γ w, for a symmetric positive semi-definite Γ that is known by its products (smoothness, a prior, a graph).

    ``product`` (k,) → (k,) gives Γ w; ``diagonal`` (k,), where it is known, helps the preconditioner. One output.
    """

    product: Callable[[Vector], Vector]
    diagonal: Vector | None = None

    is_diagonal = False
    strong_convexity = 0.0

    def value(self, w: Vector, layout: Layout) -> float:
        """½ w·Γw."""
        return 0.5 * inner(w, self.hess_dot(w, layout))

    def grad(self, w: Vector, layout: Layout) -> Vector:
        """Γ w, and 0 for the tail."""
        return self.hess_dot(w, layout)

    def hess_dot(self, v: Vector, layout: Layout) -> Vector:
        """Γ v, and 0 for the tail."""
        rows, tail = layout.split(v)
        product = np.asarray(self.product(rows.ravel()), np.float64)
        if product.shape != (rows.size,):
            raise SpecError(
                f"the penalty's product returned the shape {product.shape}; needed ({rows.size},), as w has"
            )
        return np.concatenate([product, np.zeros(len(tail))])

    def hess_diag(self, size: int, layout: Layout) -> Vector:
        """The diagonal of Γ where it is known, else 0."""
        return _flat(np.asarray(0.0 if self.diagonal is None else self.diagonal), size, layout, 0.0)

    def term(self, size: int, layout: Layout) -> None:
        """None: it is smooth."""


def _check_alpha(alpha: float) -> None:
    if not (isinstance(alpha, (int, float, np.number)) and math.isfinite(alpha) and alpha >= 0):
        raise SpecError(f"alpha is {alpha!r}; needed a finite number, at least 0")


def _flat(values: NDArray[np.float64], size: int, layout: Layout, free: float, later: float | None = None) -> Vector:
    """A number, one for each feature, or also for each output, as a parameter vector.

    The tail is ``free``, but for the weights of later layers where they have a number of their own, ``later``.
    """
    k = (size - layout.tail) // layout.width
    if values.ndim and values.shape not in ((k,), (k, 1), (k, layout.width)):
        raise SpecError(f"a penalty has {values.shape} numbers; needed ({k},), one for each feature that occurs")
    out = empty(size)
    out.fill(free)
    rows = values[:, np.newaxis] if values.ndim == 1 else values
    out[: k * layout.width] = np.broadcast_to(rows, (k, layout.width)).ravel()
    if later is not None:
        out[k * layout.width : size - layout.free] = later
    return out
