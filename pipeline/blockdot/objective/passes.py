"""Passes: what is done with one block, tile by tile.

    Value          Σ s ℓ(y, z)
    ValueAndGrad   Σ s ℓ(y, z),   Jᵀ (s ∂ℓ/∂z)
    ValueAlong     Σ s ℓ(y, z + t (z' − z)),   for one t after another, z' being that at w + d
    GaussNewtonVec Jᵀ (c ∘ J v),          c = s ∂²ℓ/∂z², the curvature
    HessVec        Jᵀ (c ∘ J v) + Σᵢ uᵢ (∂²zᵢ/∂w²) v,       u = s ∂ℓ/∂z
    HessDiag       diag(Jᵀ diag(c) J)
    Border         Jᵀ c,                  the Hessian's entries between each parameter and its output's intercept
    Gram           Jᵀ diag(c) J,          for the most frequent features, one matrix an output or the mean of them
    Raw            z, for each row

with z = predictor(w, X) + offset, (n,), or (n, K) for K outputs. A loss that is pointwise in each number of z has a
Hessian that is diagonal in z: c. One that couples the outputs of a row (softmax) has a method ``hess_diag``; c is then
the diagonal of its Hessian in z, and products ask the loss for its exact one. Where z is linear in w (a predictor that
``is_affine``) the Gauss–Newton product is the Hessian's, and HessDiag its diagonal; for others the two differ, by the
second derivatives of z (Schraudolph, *Neural Computation* 14 (2002)).

Three loops over a tile that fits the cache are faster than one fused loop over rows, because each of them runs at the
speed of its own kernel. A pass is picklable and holds no data; its results are sums, which can be added. What the next
pass at the same w needs, z and c, is remembered for each block under the pass's ``key``, a digest of w; a pass without
a key remembers nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from blockdot.blocks.block import Block
from blockdot.blocks.layout import FeatureSum, Layout
from blockdot.blocks.sums import RowPass
from blockdot.buffers import empty, zeros
from blockdot.errors import DataError, SpecError
from blockdot.objective.losses import Loss, Weights
from blockdot.objective.predictors import Predictor
from blockdot.vectors import Vector

# What is remembered as z: where the last value and gradient were asked for, and where the ones before.
_Z, _OLDER_Z = "z", "older z"
# The golden ratio less 1: its multiples fill [0, 1) evenly, whatever the number of rows.
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True, eq=False)
class Partial:
    """Sums over some rows: of the weights, of the weighted losses, and of a vector over the features."""

    weight: float
    value: float
    vector: FeatureSum | None = None

    def __add__(self, other: Partial) -> Partial:
        vector = None if self.vector is None or other.vector is None else self.vector + other.vector
        return Partial(self.weight + other.weight, self.value + other.value, vector)

    def __iadd__(self, other: Partial) -> Partial:
        vector = self.vector
        if vector is not None and other.vector is not None:
            vector += other.vector
        return Partial(self.weight + other.weight, self.value + other.value, vector)

    def settled(self) -> Partial:
        """The same, its vector settled."""
        return self if self.vector is None else replace(self, vector=self.vector.settled())


@dataclass(frozen=True, eq=False)
class MatrixPartial:
    """Sums over some rows: of the weights, and of small dense matrices, one an output."""

    weight: float
    matrix: NDArray[np.float64]

    def __add__(self, other: MatrixPartial) -> MatrixPartial:
        return MatrixPartial(self.weight + other.weight, self.matrix + other.matrix)

    def __iadd__(self, other: MatrixPartial) -> MatrixPartial:
        if not self.matrix.flags.writeable:  # it lies in what another process sent
            return self + other
        matrix = self.matrix
        matrix += other.matrix
        return MatrixPartial(self.weight + other.weight, matrix)


Gather = Callable[[], Vector]
"""Gives the block's own part of a vector, when it is asked for."""


@dataclass(frozen=True)
class LossPass:
    """What is done at some parameters with the rows of a block: with z, and what follows from it."""

    loss: Loss
    predictor: Predictor
    key: bytes = b""
    """Names w: equal keys mean equal w, and the same loss and predictor."""

    @property
    def layout(self) -> Layout:
        return self.predictor.layout

    def z(self, block: Block, w: Gather, name: str = _Z) -> Vector:
        """z of every row; found where it was remembered, or else remembered under ``name``."""

        def compute() -> Vector:
            own = w()
            return self.tile_by_tile(block, lambda tile, _: raw(self.predictor, tile, own))

        other = _Z if name == _OLDER_Z else _OLDER_Z
        found = None if block.memo is None else block.memo.get(other, self.key)
        return _remembered(block, name, self.key, compute) if found is None else found

    def curvature(self, block: Block, w: Gather) -> Vector:
        """c of every row, remembered: the diagonal of the Hessian in z."""

        def one_tile(tile: Block, z: Vector) -> Vector:
            y, s = targets(tile), weights(tile)
            if is_coupled(self.loss):
                return _like(z, self.loss.hess_diag(y, z, s))  # type: ignore[attr-defined]
            return _like(z, self.loss.hess_dot(y, z, s, np.ones_like(z)))

        return _remembered(block, "curvature", self.key, lambda: self.tile_by_tile(block, one_tile, self.z(block, w)))

    def tiles(self, block: Block) -> Iterator[Block]:
        """The block in ranges of rows that the predictor likes."""
        return block.tiles(self.predictor.tile_rows)

    def tile_by_tile(self, block: Block, compute: Callable[[Block, Any], Vector], z: Vector | None = None) -> Vector:
        """What ``compute`` gives for each tile (and its part of z), in one array shaped as z is."""
        out, end = empty(self.predictor.z_shape(block.n_rows)), 0
        for tile in self.tiles(block):
            start, end = end, end + tile.n_rows
            out[start:end] = compute(tile, None if z is None else z[start:end])
        return out


class Value(LossPass):
    """Σ s ℓ."""

    def __call__(self, block: Block, w: Vector) -> Partial:
        value = 0.0
        for tile in self.tiles(block):
            value += self.loss.value(targets(tile), raw(self.predictor, tile, w), weights(tile))
        return Partial(block.weight, value)


class ValueAndGrad(LossPass):
    """Σ s ℓ, and its gradient with respect to the block's parameters."""

    def __call__(self, block: Block, w: Vector) -> Partial:
        value, grad, zs = 0.0, zeros(w.shape), []
        for tile in self.tiles(block):
            at = self.predictor.linearize(w, tile.X)
            z = _offset(at.z, tile)
            tile_value, u = self.loss.value_and_grad(targets(tile), z, weights(tile))
            value += tile_value
            at.vjp(_like(z, u), grad)
            zs.append(z)
        if self.key and block.memo is not None:
            z_of_rows = np.concatenate([np.empty(self.predictor.z_shape(0)), *zs])
            block.memo.put(_Z, self.key, z_of_rows, older=_OLDER_Z)
        return Partial(block.weight, value, FeatureSum.of(block, grad, self.layout))


@dataclass(frozen=True)
class ValueAlong(LossPass):
    """Σ s ℓ at w + t d, for a predictor that is affine in w: z moves on the line from where it is to where d leads.

    A line search that has been refused the full step has seen both ends, and no product is needed for any t.
    """

    t: float = 0.0
    end: bytes = b""
    """Names w + d."""

    gathers_late = True

    def __call__(self, block: Block, w: Gather, end: Gather) -> Partial:
        z, there = self.z(block, w, _OLDER_Z), replace(self, key=self.end).z(block, end)
        value, stop = 0.0, 0
        for tile in self.tiles(block):
            start, stop = stop, stop + tile.n_rows
            step = there[start:stop] - z[start:stop]
            step *= self.t
            step += z[start:stop]
            value += self.loss.value(targets(tile), step, weights(tile))
        return Partial(block.weight, value)


class HessVec(LossPass):
    """The product of the Hessian of Σ s ℓ at w with v, forward over reverse (Pearlmutter 1994)."""

    def __call__(self, block: Block, w: Vector, v: Vector) -> Partial:
        product = zeros(w.shape)
        for tile in self.tiles(block):
            y, s, at = targets(tile), weights(tile), self.predictor.linearize(w, tile.X)
            z, along = _offset(at.z, tile), at.tangent(v)
            _, u = self.loss.value_and_grad(y, z, s)
            du = self.loss.hess_dot(y, z, s, along.dz)
            along.add_vjp(_like(z, u), _like(z, du), product)
        return Partial(block.weight, 0.0, FeatureSum.of(block, product, self.layout))


class GaussNewtonVec(LossPass):
    """The Gauss–Newton product: what the Hessian's would be if z were linear in w from here on."""

    gathers_late = True

    def __call__(self, block: Block, w: Gather, v: Gather) -> Partial:
        coupled, along = is_coupled(self.loss), v()
        at_rows = self.z(block, w) if coupled else self.curvature(block, w)
        point = along if self.predictor.is_affine else w()  # an affine map has the same Jacobian everywhere
        product, end = zeros(along.shape), 0
        for tile in self.tiles(block):
            start, end = end, end + tile.n_rows
            at = self.predictor.linearize(point, tile.X)
            if coupled:
                u = at.jvp(along)
                at.vjp(_like(u, self.loss.hess_dot(targets(tile), at_rows[start:end], weights(tile), u)), product)
            else:
                at.add_normal(along, at_rows[start:end], product)
        return Partial(block.weight, 0.0, FeatureSum.of(block, product, self.layout))


class HessDiag(LossPass):
    """The diagonal of Jᵀ diag(c) J: of the Hessian of Σ s ℓ at w, where z is linear in w."""

    def __call__(self, block: Block, w: Vector) -> Partial:
        curvature, diagonal, end = self.curvature(block, lambda: w), zeros(w.shape), 0
        for tile in self.tiles(block):
            start, end = end, end + tile.n_rows
            self.predictor.linearize(w, tile.X).add_hess_diag(curvature[start:end], diagonal)
        return Partial(block.weight, 0.0, FeatureSum.of(block, diagonal, self.layout))


class Border(LossPass):
    """Jᵀ c: for each parameter, the Hessian's entry between it and the intercept of its output."""

    def __call__(self, block: Block, w: Vector) -> Partial:
        curvature, border, end = self.curvature(block, lambda: w), zeros(w.shape), 0
        for tile in self.tiles(block):
            start, end = end, end + tile.n_rows
            self.predictor.linearize(w, tile.X).vjp(curvature[start:end], border)
        return Partial(block.weight, 0.0, FeatureSum.of(block, border, self.layout))


@dataclass(frozen=True)
class Gram(LossPass):
    """The Hessian of Σ s ℓ at w, for the first ``m`` features (the most frequent of the data set) and the tail.

    One matrix an output, or the mean of these ``together``: what lies between two outputs is left out. Of two entries
    that mirror each other one is added to (see Predictor.add_gram).
    """

    m: int = 0
    together: bool = False

    gathers_late = True

    def __call__(self, block: Block, w: Gather) -> MatrixPartial:
        assert block.positions is not None
        size = self.m + self.layout.tail // self.layout.width
        out = zeros((1 if self.together else self.layout.width, size, size))
        place = np.where(block.positions < self.m, block.positions, -1)
        curvature, end = self.curvature(block, w), 0
        if self.together and curvature.ndim > 1:
            curvature = np.mean(curvature, axis=1)
        for tile in self.tiles(block):
            start, end = end, end + tile.n_rows
            self.predictor.add_gram(tile.X, place, curvature[start:end], out)
        return MatrixPartial(block.weight, out)


@dataclass(frozen=True)
class Raw:
    """z for each row of a block."""

    predictor: Predictor

    @property
    def layout(self) -> Layout:
        return self.predictor.layout

    def __call__(self, block: Block, w: Vector) -> Vector:
        parts = [raw(self.predictor, tile, w) for tile in block.tiles(self.predictor.tile_rows)]
        return np.concatenate([np.empty(self.predictor.z_shape(0)), *parts])


class SampledRows(NamedTuple):
    """Some rows of a block, their features named by their positions in the data set."""

    X: sp.csr_array
    y: Vector | None
    sample_weight: Vector | None
    offset: Vector | None


@dataclass(frozen=True)
class CountRows(RowPass):
    """The number of rows of each block that have a weight."""

    def __call__(self, block: Block) -> int:
        return len(block.counted)


@dataclass(frozen=True)
class TakeRows(RowPass):
    """About ``share`` of the rows of a block that count, evenly spread: the fractional part of i φ is below it."""

    share: float

    def __call__(self, block: Block) -> tuple[SampledRows, ...]:
        counted = block.counted
        rows = counted[(np.arange(len(counted)) * _GOLDEN) % 1.0 < self.share]
        X, positions = block.X.take(rows).to_scipy(), block.positions
        assert positions is not None
        placed = sp.csr_array((X.data, positions[X.indices], X.indptr), shape=(len(rows), block.n_features))
        columns = (None if column is None else column[rows] for column in (block.y, block.sample_weight, block.offset))
        return (SampledRows(placed, *columns),)  # tuples add up to the rows of all blocks, in their order


def joined(parts: Sequence[SampledRows], n_features: int) -> Block:
    """One block of the sampled rows of all blocks."""
    X = sp.csr_array(sp.vstack([part.X for part in parts], format="csr"))

    def column(arrays: Iterable[Vector | None]) -> Vector | None:
        present = [array for array in arrays if array is not None]
        return np.concatenate(present) if len(present) == len(parts) else None

    y = column(part.y for part in parts)
    weight = column(part.sample_weight for part in parts)
    offset = column(part.offset for part in parts)
    block = Block.from_rows(X.indptr, X.indices, X.data, y=y, sample_weight=weight, offset=offset, dtype=X.data.dtype)
    return block.placed(block.columns, n_features)


def raw(predictor: Predictor, block: Block, w: Vector) -> Vector:
    """z = predictor(w, X) + offset."""
    return _offset(predictor.linearize(w, block.X).z, block)


def targets(block: Block) -> Vector:
    """The block's y."""
    if block.y is None:
        raise DataError("these rows have no targets y: ingest them with a label, or hand y in, to learn or evaluate")
    return block.y


def weights(block: Block) -> Weights:
    """The block's weights, 1.0 where it has none."""
    return 1.0 if block.sample_weight is None else block.sample_weight


def is_coupled(loss: Loss) -> bool:
    """Whether the Hessian of a loss mixes the outputs of a row."""
    return callable(getattr(loss, "hess_diag", None))


def _offset(z: Vector, block: Block) -> Vector:
    if block.offset is None:
        return z
    return z + (block.offset if z.ndim == 1 else block.offset[:, np.newaxis])


def _like(z: Vector, u: Vector) -> Vector:
    """What a loss returned, which may be anyone's: the compiled products check no bounds."""
    array = np.ascontiguousarray(u, np.float64)
    if array.shape != z.shape:
        raise SpecError(f"the loss returned an array of the shape {array.shape}; needed {z.shape}, as z has")
    return array


def _remembered(block: Block, name: str, key: bytes, compute: Callable[[], Vector]) -> Vector:
    return compute() if not key or block.memo is None else block.memo.remember(name, key, compute)
