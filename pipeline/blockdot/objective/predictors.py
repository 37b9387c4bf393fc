"""Predictors: from parameters and features to the raw prediction z, and back.

    Linear:   z = X w + b

``linearize(w, X)`` gives z with the two products of its Jacobian J = ∂z/∂w at w: jvp(v) = J v, one number a row, and
vjp(u, out), which adds Jᵀ u into an array it is given, so that no tile makes a temporary of the size of w. ``w`` is a
block's own part of the parameters, laid out as ``layout`` says; X are rows over the block's columns. The intercept is
the tail.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from blockdot.blocks.layout import Layout
from blockdot.blocks.matrix import Matrix
from blockdot.vectors import Vector


class Linearization(Protocol):
    """A predictor at some w: z, made when it is asked for, and the products with the Jacobian there."""

    @property
    def z(self) -> Vector: ...

    def jvp(self, v: Vector) -> Vector:
        """J v, one number a row."""
        ...

    def vjp(self, u: Vector, out: Vector) -> None:
        """Add Jᵀ u to ``out``."""
        ...


class Predictor(Protocol):
    """A map from parameters and rows to z."""

    @property
    def layout(self) -> Layout: ...

    @property
    def is_affine(self) -> bool:
        """Whether z(w + t v) = z(w) + t J v for every t."""
        ...

    def linearize(self, w: Vector, X: Matrix) -> Linearization:
        """z and its Jacobian's products at w."""
        ...

    def add_hess_diag(self, X: Matrix, curvature: Vector, out: Vector) -> None:
        """Add the diagonal of Jᵀ diag(curvature) J to ``out``."""
        ...

    def add_gram(self, X: Matrix, place: NDArray[np.int64], curvature: Vector, out: NDArray[np.float64]) -> None:
        """Add Jᵀ diag(curvature) J, for the columns that have a place ≥ 0 and for the tail (last), to ``out``.

        Of two entries that mirror each other one is added to; only out + outᵀ, less the diagonal, counts.
        """
        ...


@dataclass(frozen=True)
class LinearMap:
    """X w + b at some w; its Jacobian is [X, 1] everywhere."""

    w: Vector
    X: Matrix
    intercept: bool

    @cached_property
    def z(self) -> Vector:
        return self.jvp(self.w)

    def jvp(self, v: Vector) -> Vector:
        k = self.X.n_columns
        z = np.full(self.X.n_rows, v[k] if self.intercept else 0.0)
        self.X.add_dot(v[:k], z)
        return z

    def vjp(self, u: Vector, out: Vector) -> None:
        self.X.add_tdot(u, out[: self.X.n_columns])
        out[self.X.n_columns :] += np.sum(u)


@dataclass(frozen=True)
class Linear:
    """z = X w + b; the intercept b, where there is one, is the last parameter."""

    intercept: bool = True

    is_affine = True

    @property
    def layout(self) -> Layout:
        return Layout(width=1, tail=int(self.intercept))

    def linearize(self, w: Vector, X: Matrix) -> LinearMap:
        """The map itself."""
        return LinearMap(w, X, self.intercept)

    def add_hess_diag(self, X: Matrix, curvature: Vector, out: Vector) -> None:
        """Add (X∘X)ᵀ curvature, and Σ curvature for the intercept."""
        X.add_tdot(curvature, out[: X.n_columns], squared=True)
        out[X.n_columns :] += np.sum(curvature)

    def add_gram(self, X: Matrix, place: NDArray[np.int64], curvature: Vector, out: NDArray[np.float64]) -> None:
        """Add [X, 1]ᵀ diag(curvature) [X, 1]."""
        X.add_gram(place, curvature, out)
        if self.intercept:
            border = np.zeros(X.n_columns)
            X.add_tdot(curvature, border)
            out[-1, place[place >= 0]] += border[place >= 0]
            out[-1, -1] += np.sum(curvature)
