"""Predictors: from parameters and features to the raw prediction z, and back.

    Linear:   z = X w + b

``linearize(w, X)`` gives z with the two products of its Jacobian J = ∂z/∂w at w: jvp(v) = J v, one number a row, and
vjp(u, out), which adds Jᵀ u into an array it is given, so that no tile makes a temporary of the size of w. ``w`` is a
block's own part of the parameters, laid out as ``layout`` says; X are rows over the block's columns. The intercept is
the tail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from blockdot.blocks.block import CSR
from blockdot.blocks.layout import Layout
from blockdot.vectors import Vector


class Linearization(NamedTuple):
    """z at some w, and the products with the Jacobian there."""

    z: Vector
    jvp: Callable[[Vector], Vector]
    vjp: Callable[[Vector, Vector], None]


class Predictor(Protocol):
    """A map from parameters and rows to z."""

    @property
    def layout(self) -> Layout: ...

    def raw(self, w: Vector, X: CSR) -> Vector:
        """z, one number a row."""
        ...

    def linearize(self, w: Vector, X: CSR) -> Linearization:
        """z and its Jacobian's products at w."""
        ...

    def add_hess_diag(self, X: CSR, curvature: Vector, out: Vector) -> None:
        """Add the diagonal of Jᵀ diag(curvature) J to ``out``."""
        ...


@dataclass(frozen=True)
class Linear:
    """z = X w + b; the intercept b, where there is one, is the last parameter."""

    intercept: bool = True

    @property
    def layout(self) -> Layout:
        return Layout(width=1, tail=int(self.intercept))

    def raw(self, w: Vector, X: CSR) -> Vector:
        """X w + b."""
        z = X.dot(w[: X.n_columns])
        if self.intercept:
            z += w[X.n_columns]
        return z

    def linearize(self, w: Vector, X: CSR) -> Linearization:
        """The map is linear: its Jacobian is [X, 1] everywhere."""

        def vjp(u: Vector, out: Vector) -> None:
            X.add_tdot(u, out[: X.n_columns])
            out[X.n_columns :] += np.sum(u)

        return Linearization(self.raw(w, X), lambda v: self.raw(v, X), vjp)

    def add_hess_diag(self, X: CSR, curvature: Vector, out: Vector) -> None:
        """Add (X∘X)ᵀ curvature, and Σ curvature for the intercept."""
        X.add_tdot_sq(curvature, out[: X.n_columns])
        out[X.n_columns :] += np.sum(curvature)
