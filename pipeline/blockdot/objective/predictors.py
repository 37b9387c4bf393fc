"""Predictors: from parameters and features to the raw prediction z, and back.

    Linear:   z = X w + b,      or  Z = X W + b for K outputs at once:  W (k, K), b (K,), Z (n, K)

``linearize(w, X)`` gives z with the two products of its Jacobian J = ∂z/∂w at w: jvp(v) = J v, one number a row, and
vjp(u, out), which adds Jᵀ u into an array it is given, so that no tile makes a temporary of the size of w. ``w`` is a
block's own part of the parameters, laid out as ``layout`` says; X are rows over the block's columns. The intercept is
the tail. A predictor that is not linear has a second derivative, too: its ``tangent`` gives J v with the change of Jᵀu
along v. Another predictor is the network (network.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from blockdot.blocks import products
from blockdot.blocks.block import TILE_ROWS
from blockdot.blocks.layout import Layout
from blockdot.blocks.matrix import Matrix
from blockdot.buffers import empty
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

    def add_normal(self, v: Vector, c: Vector, out: Vector) -> None:
        """Add Jᵀ (c ∘ J v) to ``out``."""
        ...

    def tangent(self, v: Vector) -> Tangent:
        """The derivatives along v."""
        ...

    def add_hess_diag(self, curvature: Vector, out: Vector) -> None:
        """Add the diagonal of Jᵀ diag(curvature) J to ``out``."""
        ...


class Tangent(Protocol):
    """How a predictor at some w changes along a v."""

    @property
    def dz(self) -> Vector:
        """J v."""
        ...

    def add_vjp(self, u: Vector, du: Vector, out: Vector) -> None:
        """Add the derivative of Jᵀ u along v, where u changes by ``du``, to ``out``: Jᵀ du + (∂²(u·z)/∂w²) v."""
        ...


class Predictor(Protocol):
    """A map from parameters and rows to z."""

    @property
    def layout(self) -> Layout: ...

    @property
    def is_affine(self) -> bool:
        """Whether z(w + t v) = z(w) + t J v for every t."""
        ...

    @property
    def tile_rows(self) -> int:
        """Rows that are best worked on at the same time."""
        ...

    def thinned(self, noise: int) -> Predictor:
        """The predictor that learns from a batch of rows which ``noise`` names: itself, unless it leaves units out."""
        ...

    def z_shape(self, n_rows: int) -> tuple[int, ...]:
        """The shape of z for so many rows: (n,), or (n, K) for K outputs."""
        ...

    def linearize(self, w: Vector, X: Matrix) -> Linearization:
        """z and its Jacobian's products at w."""
        ...

    def add_gram(self, X: Matrix, place: NDArray[np.int64], curvature: Vector, out: NDArray[np.float64]) -> None:
        """Add Jᵀ diag(curvature) J, for the columns that have a place ≥ 0 and for the tail (last), to ``out``.

        ``out`` is (K, m, m), one matrix an output, K = 1 where z has one dimension. Of two entries that mirror each
        other one is added to; only out + outᵀ, less the diagonal, counts.
        """
        ...


@dataclass(frozen=True)
class LinearMap:
    """X w + b at some w; its Jacobian is [X, 1] everywhere."""

    w: Vector
    X: Matrix
    predictor: Linear

    @cached_property
    def z(self) -> Vector:
        return self.jvp(self.w)

    def jvp(self, v: Vector) -> Vector:
        rows, tail = self.predictor.split(v)
        z = empty(self.predictor.z_shape(self.X.n_rows))
        z[:] = tail
        if _is_not_zero(rows):
            self.X.add_dot(rows, z)
        return z

    def vjp(self, u: Vector, out: Vector) -> None:
        rows, tail = self.predictor.split(out)
        self.X.add_tdot(u, rows)
        if self.predictor.intercept:
            _add_sum(u, tail)

    def add_normal(self, v: Vector, c: Vector, out: Vector) -> None:
        """Add Jᵀ (c ∘ J v): for one output by one compiled call."""
        if c.ndim > 1:
            u = self.jvp(v)
            u *= c
            self.vjp(u, out)
            return
        (rows, shift), (into, tail) = self.predictor.split(v), self.predictor.split(out)
        total = self.X.add_normal(rows, float(shift), c, into)
        if self.predictor.intercept:
            tail += total

    def tangent(self, v: Vector) -> LinearTangent:
        return LinearTangent(self, v)

    def add_hess_diag(self, curvature: Vector, out: Vector) -> None:
        """Add (X∘X)ᵀ curvature, and Σ curvature for the intercept."""
        rows, tail = self.predictor.split(out)
        self.X.add_tdot(curvature, rows, squared=True)
        if self.predictor.intercept:
            _add_sum(curvature, tail)


@dataclass(frozen=True)
class LinearTangent:
    """The map along v: J does not change."""

    at: LinearMap
    v: Vector

    @cached_property
    def dz(self) -> Vector:
        return self.at.jvp(self.v)

    def add_vjp(self, u: Vector, du: Vector, out: Vector) -> None:  # noqa: ARG002
        """Add Jᵀ du."""
        self.at.vjp(du, out)


@dataclass(frozen=True)
class Linear:
    """z = X w + b; the intercept b, where there is one, is the last parameter, or the last K for K ``outputs``."""

    intercept: bool = True
    outputs: int | None = None
    """K; None for one output, and a z of one dimension."""

    is_affine = True
    tile_rows = TILE_ROWS

    @cached_property
    def layout(self) -> Layout:
        width = self.outputs or 1
        return Layout(width=width, tail=width * self.intercept)

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of a feature's parameters: () or (K,)."""
        return () if self.outputs is None else (self.outputs,)

    def thinned(self, noise: int) -> Linear:  # noqa: ARG002
        """Itself."""
        return self

    def z_shape(self, n_rows: int) -> tuple[int, ...]:
        """(n,) or (n, K)."""
        return (n_rows, *self.row_shape)

    def split(self, w: Vector) -> tuple[Vector, Vector | float]:
        """Views: w (k,) or W (k, K), and b, a scalar array or (K,); b is 0 where there is no intercept."""
        rows, tail = self.layout.split(w)
        shape = self.z_shape(len(rows))
        return rows.reshape(shape), tail.reshape(shape[1:]) if self.intercept else 0.0

    def linearize(self, w: Vector, X: Matrix) -> LinearMap:
        """The map itself."""
        return LinearMap(w, X, self)

    def add_gram(self, X: Matrix, place: NDArray[np.int64], curvature: Vector, out: NDArray[np.float64]) -> None:
        """Add [X, 1]ᵀ diag(curvature of the output) [X, 1], for each output."""
        for matrix, column in zip(out, curvature.reshape(X.n_rows, -1).T, strict=True):
            c = np.ascontiguousarray(column)
            X.add_gram(place, c, matrix)
            if self.intercept:
                border = np.zeros(X.n_columns)
                X.add_tdot(c, border)
                matrix[-1, place[place >= 0]] += border[place >= 0]
                matrix[-1, -1] += np.sum(c)


def _is_not_zero(rows: Vector) -> bool:
    """Whether there is anything to multiply by: at 0, where most fits start, there is not. Seen by the first number."""
    return bool(rows.size) and (rows.item(0) != 0.0 or bool(rows.any()))


def _add_sum(u: Vector, tail: Vector | float) -> None:
    """Add what the rows sum to to the intercepts."""
    assert isinstance(tail, np.ndarray)
    if u.ndim == 1:
        tail += np.sum(u)
    else:
        products.add_row_sums(u, tail)
