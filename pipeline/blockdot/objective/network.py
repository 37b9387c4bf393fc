"""A network as a predictor: a first layer over the sparse features, dense layers after it.

    z₁ = X W₁ + b₁,    aₗ = φ(zₗ),    zₗ₊₁ = aₗ Wₗ₊₁ + bₗ₊₁,    z = z_L                       a₀ = X

    backward   δ_L = u,   δₗ = (δₗ₊₁ Wₗ₊₁ᵀ) ∘ φ′(zₗ),                 Jᵀu = (aₗ₋₁ᵀ δₗ, Σ δₗ)
    forward    żₗ = aₗ₋₁ Vₗ + ȧₗ₋₁ Wₗ + cₗ,   ȧₗ = φ′(zₗ) ∘ żₗ,         J(V, c) = ż_L
    both       δ̇_L = u̇,  δ̇ₗ = (δ̇ₗ₊₁ Wₗ₊₁ᵀ + δₗ₊₁ Vₗ₊₁ᵀ) ∘ φ′(zₗ) + (δₗ₊₁ Wₗ₊₁ᵀ) ∘ φ″(zₗ) ∘ żₗ,
               the derivative of Jᵀu along (V, c) = (ȧₗ₋₁ᵀ δₗ + aₗ₋₁ᵀ δ̇ₗ, Σ δ̇ₗ)

Rumelhart, Hinton & Williams, *Nature* 323 (1986); the products with the Hessian are those of Pearlmutter, *Neural
Computation* 6 (1994). All are inner products. The first layer is X W₁ and Xᵀδ₁ with as many columns as it has units, so
features that a block does not have cost nothing; X is never made dense, and the parameters of a feature (a row of W₁)
are laid out as those of K outputs of a linear model are. The tail holds W₂, W₃, … and then b₁, b₂, ….
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from blockdot.blocks.block import TILE_ROWS
from blockdot.blocks.layout import Layout
from blockdot.blocks.matrix import Matrix
from blockdot.errors import SpecError
from blockdot.objective.activations import Activation, activation_named
from blockdot.vectors import Vector, one_blas_thread

# Numbers of all units of a tile's rows: a few arrays of that size fit the second-level cache.
_CELLS = 65_536
_LEAST_ROWS = 256


class Layers(NamedTuple):
    """Views of a parameter vector: W₁ (k, H₁), W₂ (H₁, H₂), … and b₁ (H₁,), b₂ (H₂,), …."""

    weights: tuple[Vector, ...]
    biases: tuple[Vector, ...]


@dataclass(frozen=True)
class Network:
    """Layers of ``hidden`` units with the ``activation`` (activations.py), and K ``outputs``, None for one.

    Examples
    --------
    >>> import blockdot as bd                                                       # doctest: +SKIP
    >>> objective = bd.Objective(bd.Softmax(20), bd.Network((64,), outputs=20), bd.L2(1e-5), blocks)  # doctest: +SKIP
    """

    hidden: tuple[int, ...]
    activation: str = "relu"
    outputs: int | None = None
    dropout: float = 0.0
    """The share of hidden units that are left out of each row, in training: see :meth:`thinned`."""
    noise: int | None = None
    """Names the units that are left out; None leaves out none."""

    is_affine = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.dropout < 1.0:
            raise SpecError(f"dropout is {self.dropout!r}; needed a share of at least 0 and below 1")
        whole = all(isinstance(units, (int, np.integer)) and units > 0 for units in self.hidden)
        if not self.hidden or not whole:
            raise SpecError(f"hidden layers of {self.hidden!r} units; needed one whole number above 0, or more of them")
        activation_named(self.activation)

    @property
    def sizes(self) -> tuple[int, ...]:
        """H₁, H₂, …, K."""
        return (*self.hidden, self.outputs or 1)

    @property
    def layout(self) -> Layout:
        later = sum(a * b for a, b in pairwise(self.sizes))
        return Layout(self.hidden[0], later + sum(self.sizes), later)

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of a feature's parameters: (H₁,)."""
        return (self.hidden[0],)

    @property
    def tile_rows(self) -> int:
        """Rows that are worked on at the same time: the units of all layers fit the cache."""
        return max(min(_CELLS // sum(self.sizes), TILE_ROWS), _LEAST_ROWS)

    def z_shape(self, n_rows: int) -> tuple[int, ...]:
        """(n,) or (n, K)."""
        return (n_rows,) if self.outputs is None else (n_rows, self.outputs)

    def split(self, w: Vector) -> Layers:
        """The layers of a parameter vector, as views."""
        rows, tail = self.layout.split(w)
        shapes = [*pairwise(self.sizes), *((units,) for units in self.sizes)]
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
        parts = [part.reshape(shape) for part, shape in zip(np.split(tail, ends[:-1]), shapes, strict=True)]
        later = len(self.hidden)
        return Layers((rows, *parts[:later]), tuple(parts[later:]))

    def linearize(self, w: Vector, X: Matrix) -> NetworkMap:
        """The network at w."""
        return NetworkMap(w, X, self)

    def thinned(self, noise: int) -> Network:
        """The network in training: of each row other units are left out, and the others count for 1/(1 − dropout).

        Srivastava et al., *JMLR* 15 (2014). Which units depends on ``noise`` and the place of the row alone.
        """
        return replace(self, noise=noise) if self.dropout else self

    def add_gram(self, *_: object, **__: object) -> None:
        """Refused."""
        raise SpecError("the Hessian of a network is not made as a matrix: choose a solver that uses products")


class _Forward(NamedTuple):
    """z₁ … z_L, and a₁ … a_{L−1}."""

    z: list[Vector]
    a: list[Vector]


class NetworkMap:
    """A network at ``w`` over the rows of ``X``; nothing is computed before it is asked for."""

    def __init__(self, w: Vector, X: Matrix, network: Network) -> None:
        self.X = X
        self.network = network
        self.layers = network.split(w)

    @property
    def z(self) -> Vector:
        """z_L."""
        return self.shaped(self.forward.z[-1])

    def jvp(self, v: Vector) -> Vector:
        """J v."""
        return self.tangent(v).dz

    def vjp(self, u: Vector, out: Vector) -> None:
        """Add Jᵀ u to ``out``."""
        total = self.network.split(out)
        with one_blas_thread():
            for level, delta in self._backward(u):
                self.add_product(self.forward.a, level, delta, total.weights[level])
                total.biases[level][:] += delta.sum(axis=0)

    def add_normal(self, v: Vector, c: Vector, out: Vector) -> None:
        """Add Jᵀ (c ∘ J v)."""
        self.vjp(self.jvp(v) * c, out)

    def tangent(self, v: Vector) -> NetworkTangent:
        """The derivatives along v."""
        return NetworkTangent(self, v)

    def add_hess_diag(self, curvature: Vector, out: Vector) -> None:
        """Add the diagonal of Jᵀ diag(curvature) J to ``out``: δ∘δ summed over the outputs, by one product a layer."""
        columns = curvature.reshape(self.X.n_rows, -1)
        total, squares = self.network.split(out), [np.zeros_like(z) for z in self.forward.z]
        with one_blas_thread():
            for output in range(columns.shape[1]):
                unit = np.zeros(columns.shape)
                unit[:, output] = np.sqrt(np.abs(columns[:, output]))
                sign = np.sign(columns[:, output, np.newaxis])
                for level, delta in self._backward(unit):
                    squares[level] += sign * delta * delta
            for level, square in enumerate(squares):
                if level:
                    total.weights[level][:] += (self.forward.a[level - 1] ** 2).T @ square
                else:
                    self.X.add_tdot(square, total.weights[0], squared=True)
                total.biases[level][:] += square.sum(axis=0)

    @cached_property
    def forward(self) -> _Forward:
        """All layers."""
        (first, *later), (bias, *biases) = self.layers
        z, a = [np.tile(bias, (self.X.n_rows, 1))], []
        self.X.add_dot(first, z[0])
        with one_blas_thread():
            for level, (W, b) in enumerate(zip(later, biases, strict=True)):
                a.append(self._kept(level, self.activation.value(z[-1])))
                z.append(a[-1] @ W + b)
        return _Forward(z, a)

    @cached_property
    def slopes(self) -> list[Vector]:
        """φ′ of the hidden layers, 0 where a unit is left out."""
        return self._hidden(self.activation.slope)

    @cached_property
    def bends(self) -> list[Vector]:
        """φ″ of the hidden layers, 0 where a unit is left out."""
        return self._hidden(self.activation.bend)

    def _hidden(self, function: Callable[[Vector, Vector], Vector]) -> list[Vector]:
        z, a = self.forward
        if self.network.noise is not None:  # φ itself, not what is left of it
            a = [self.activation.value(z) for z in z[:-1]]
        return [self._kept(level, function(z[level], a[level])) for level in range(len(a))]

    def _kept(self, level: int, values: Vector) -> Vector:
        """Without the units that are left out."""
        network = self.network
        if network.noise is None:
            return values
        draw = np.random.Generator(np.random.Philox(key=[network.noise, level]))
        return values * ((draw.random(values.shape) >= network.dropout) / (1.0 - network.dropout))

    @property
    def activation(self) -> Activation:
        """φ."""
        return activation_named(self.network.activation)

    def shaped(self, z: Vector) -> Vector:
        """(n, K) as the loss has it."""
        return z.reshape(self.network.z_shape(self.X.n_rows))

    def flat(self, u: Vector) -> Vector:
        """What the loss has, as (n, K)."""
        return u.reshape(self.X.n_rows, -1)

    def add_product(self, a: Sequence[Vector], level: int, delta: Vector, out: Vector) -> None:
        """Add aₗ₋₁ᵀ δ to ``out``, where a₀ is X."""
        if level:
            out += a[level - 1].T @ delta
        else:
            self.X.add_tdot(delta, out)

    def _backward(self, u: Vector) -> list[tuple[int, Vector]]:
        """(l, δₗ₊₁), the last layer first."""
        delta, level = self.flat(u), len(self.layers.weights) - 1
        found = [(level, delta)]
        while level:
            delta = (delta @ self.layers.weights[level].T) * self.slopes[level - 1]
            level -= 1
            found.append((level, delta))
        return found


class NetworkTangent:
    """How a network changes when its parameters move along ``v``."""

    def __init__(self, at: NetworkMap, v: Vector) -> None:
        self.at = at
        self.along = at.network.split(v)

    @property
    def dz(self) -> Vector:
        """ż_L = J v."""
        return self.at.shaped(self._forward.z[-1])

    @cached_property
    def _forward(self) -> _Forward:
        """ż and ȧ."""
        at, (first, *later), (bias, *biases) = self.at, *self.along
        z, a = [np.tile(bias, (at.X.n_rows, 1))], []
        at.X.add_dot(first, z[0])
        with one_blas_thread():
            for level, (V, c) in enumerate(zip(later, biases, strict=True)):
                a.append(at.slopes[level] * z[-1])
                z.append(at.forward.a[level] @ V + a[-1] @ at.layers.weights[level + 1] + c)
        return _Forward(z, a)

    def add_vjp(self, u: Vector, du: Vector, out: Vector) -> None:
        """Add the derivative of Jᵀ u along v, u changing by ``du``, to ``out``: Jᵀ du + (∂²(u·z)/∂w²) v."""
        at, total, level = self.at, self.at.network.split(out), len(self.along.weights) - 1
        delta, change = at.flat(u), at.flat(du)
        with one_blas_thread():
            while True:
                at.add_product(at.forward.a, level, change, total.weights[level])
                total.biases[level][:] += change.sum(axis=0)
                if not level:
                    return
                at.add_product(self._forward.a, level, delta, total.weights[level])
                W, V = at.layers.weights[level], self.along.weights[level]
                back, level = delta @ W.T, level - 1
                change = (change @ W.T + delta @ V.T) * at.slopes[level]
                change += back * at.bends[level] * self._forward.z[level]
                delta = back * at.slopes[level]
