"""The objective: a mean over all rows plus a penalty, as a solver sees it.

    F(w) = (1/S) Σᵢ sᵢ ℓ(yᵢ, zᵢ) + penalty(w),      S = Σᵢ sᵢ,      z = predictor(T w)

Sums over blocks are made by ``blocks``; they are divided by S once, here. The parameter vector is flat, over the
features that occur in the data set (see blocks/layout.py); the intercept, where there is one, comes last. T is the
``scaling`` (scaling.py), 1 if nothing is said: the penalty sees w, the data see T w. What is not smooth in the penalty
is left to the solver, as ``term``: F and its derivatives are those of the smooth part.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from blockdot.blocks.dataset import MemorySource
from blockdot.blocks.layout import Layout
from blockdot.blocks.sums import Blocks
from blockdot.blocks.threads import ThreadPool
from blockdot.buffers import empty
from blockdot.errors import DataError, SpecError
from blockdot.objective import passes
from blockdot.objective.losses import Loss
from blockdot.objective.penalties import Penalty
from blockdot.objective.predictors import Predictor
from blockdot.objective.scaling import AsIs, Scaling
from blockdot.objective.terms import Term
from blockdot.vector_kernel import scale_and_add
from blockdot.vectors import Vector, norm

# Rows that a Hessian is estimated from, for each of the features that it is estimated for.
_ROWS_A_FEATURE = 16
# What is sampled is worked on in so many blocks: enough to share among threads, few enough for their matrices.
_SAMPLE_BLOCKS = 4


@dataclass(frozen=True)
class Objective:
    """``loss`` of ``predictor`` over ``blocks``, plus ``penalty``.

    ``w[i]`` belongs to the feature ``dataset.table.ids[i]``: features are numbered by frequency, most frequent first.

    Examples
    --------
    >>> import blockdot as bd                                                       # doctest: +SKIP
    >>> with dataset.on(bd.ThreadPool()) as blocks:                                 # doctest: +SKIP
    ...     objective = bd.Objective(bd.Logistic(), bd.Linear(), bd.L2(1e-6), blocks)
    ...     result = bd.minimize(objective, bd.LBFGS(), objective.zeros())
    """

    loss: Loss
    predictor: Predictor
    penalty: Penalty
    blocks: Blocks
    scaling: Scaling = field(default_factory=AsIs)
    _token: bytes = field(default_factory=lambda: uuid.uuid4().bytes, init=False, repr=False, compare=False)

    @property
    def size(self) -> int:
        """The length of the parameter vector."""
        return self.layout.size(self.blocks.n_features)

    @property
    def layout(self) -> Layout:
        """How the parameter vector is laid out."""
        return self.predictor.layout

    @cached_property
    def term(self) -> Term | None:
        """What is not smooth in the penalty; None for a smooth one."""
        return self.penalty.term(self.size, self.layout)

    def zeros(self) -> Vector:
        """The starting point 0."""
        return np.zeros(self.size)

    def value(self, w: Vector) -> float:
        """F(w)."""
        total = self.blocks.sum(passes.Value(self.loss, self.predictor), self._outward(w))
        return self._value(total, w)

    def value_and_grad(self, w: Vector) -> tuple[float, Vector]:
        """F(w) and its gradient."""
        total = self.summed(passes.ValueAndGrad, w)
        return self._value(total, w), self._gradient(total, self.penalty.grad(w, self.layout))

    def value_along(self, w: Vector, direction: Vector, t: float) -> float:
        """F(w + t direction): no product where the predictor is affine, and F was evaluated at w and w + direction."""
        there: Vector = np.multiply(direction, t, out=empty(w.shape))
        there += w
        if not self.predictor.is_affine:
            return self.value(there)
        out, end = self._outward(w), self._outward(np.add(w, direction, out=empty(w.shape)))
        task = passes.ValueAlong(self.loss, self.predictor, self._key(out), t, self._key(end))
        return self._value(self.blocks.sum(task, out, end), there)

    def hess_vec(self, w: Vector, v: Vector) -> Vector:
        """The product of the Hessian of F at w with v."""
        return self._curved(passes.GaussNewtonVec if self.predictor.is_affine else passes.HessVec, w, v)

    def gauss_newton_vec(self, w: Vector, v: Vector) -> Vector:
        """The product of the Gauss–Newton matrix of F at w with v: never indefinite where the loss is convex in z.

        It is the Hessian's where z is linear in w. Schraudolph, *Neural Computation* 14 (2002).
        """
        return self._curved(passes.GaussNewtonVec, w, v)

    def grad_norm_and_grad(self, w: Vector) -> tuple[float, Vector]:
        """‖∇F(w)‖ and its gradient, H ∇F(w)/‖∇F(w)‖; 0 where ∇F(w) is 0."""
        _, gradient = self.value_and_grad(w)
        size = norm(gradient)
        return size, self.hess_vec(w, gradient / size) if size > 0.0 else gradient

    def hess_diag(self, w: Vector) -> Vector:
        """The diagonal of the Hessian of F at w, for z that is linear in w.

        SpecError for others, whose Hessian is known by products: see ``gauss_newton_diag`` and ``hess_diag_estimate``.
        """
        if not self.predictor.is_affine:
            raise SpecError(
                "the Hessian of a predictor that is not linear is known by its products: use hess_diag_estimate, or "
                "gauss_newton_diag"
            )
        return self.gauss_newton_diag(w)

    def gauss_newton_diag(self, w: Vector) -> Vector:
        """The diagonal of the Gauss–Newton matrix of F at w, less what couples the outputs of a row."""
        border = self._mean(self.summed(passes.Border, w)) if self.scaling.needs_border else np.empty(0)
        diagonal = self.scaling.diagonal(self._mean(self.summed(passes.HessDiag, w)), border, self.layout)
        diagonal += self.penalty.hess_diag(self.size, self.layout)
        return diagonal

    def hess_diag_estimate(self, w: Vector, probes: int = 32, random_state: int = 0) -> Vector:
        """The diagonal of the Hessian of F at w, estimated from ``probes`` products.

        The mean of v∘Hv over vectors v of random signs: without bias, with the variance Σ_{j≠i} Hᵢⱼ²/probes of entry i.
        Bekas, Kokiopoulou & Saad, *Applied Numerical Mathematics* 57 (2007).
        """
        if not probes > 0:
            raise SpecError(f"probes is {probes!r}; needed at least 1")
        draw, total = np.random.default_rng(random_state), np.zeros(self.size)
        for _ in range(probes):
            v = np.where(draw.random(self.size) < 0.5, -1.0, 1.0)
            total += v * self.hess_vec(w, v)
        return total / probes

    def hessians(self, w: Vector) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """The Hessian of F at w: for each output its parameters, features first, and the matrix of these.

        For a loss that does not couple the outputs, so that nothing lies between two of them, and a penalty with a
        diagonal Hessian.
        """
        why = ""
        if not self.predictor.is_affine:
            why = "the predictor is not linear"
        elif not self.penalty.is_diagonal:
            why = "the penalty is known by products"
        elif self.layout.width > 1 and passes.is_coupled(self.loss):
            why = "the loss couples several outputs"
        if why:
            raise SpecError(f"the Hessian is not made as a matrix where {why}: choose a solver that uses products")
        k = self.blocks.n_features
        return list(zip(self._places(k), self._hessians(w, k), strict=True))

    def sampled_hessian(self, w: Vector, m: int) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """The most frequent features' and the tail's part of the Hessian at w, estimated from a sample of the rows.

        For each output its parameters and their matrix; ``m`` features for one output, fewer for more, so that the
        matrices together are not larger.
        """
        head = head_of_each(m, self.layout.width)
        m = min(head, self.blocks.n_features)
        return list(zip(self._places(m), self.sample(_ROWS_A_FEATURE * head)._hessians(w, m), strict=True))

    def mean_hessian(self, w: Vector, m: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The same for ``m`` features, one matrix for all outputs: (K, p) places in w, and the mean of the K matrices.

        Where outputs are standardised differently, the mean is of the features as the first one sees them.
        """
        head = min(m, self.blocks.n_features)
        (mean,) = self.sample(_ROWS_A_FEATURE * m)._hessians(w, head, together=True)
        return self._places(head), mean

    def _places(self, m: int) -> NDArray[np.int64]:
        """(K, ·) for each output, where its parameters of the ``m`` most frequent features lie, and its tail's."""
        k, width = self.blocks.n_features, self.layout.width
        tail = np.arange(k * width, self.size).reshape(-1, width)
        return np.concatenate([np.arange(m * width).reshape(m, width), tail]).T.copy()

    def _hessians(self, w: Vector, m: int, *, together: bool = False) -> list[NDArray[np.float64]]:
        """For each output, the Hessian with respect to its parameters of the ``m`` most frequent features and tail.

        Or the mean of these ``together``.
        """
        total = self.summed(passes.Gram, w, m, together)
        rows, tail = self.layout.split(self.penalty.hess_diag(self.size, self.layout))
        diagonals = np.concatenate([rows[:m], tail.reshape(-1, self.layout.width)]).T
        if together:
            diagonals = np.mean(diagonals, axis=0, keepdims=True)
        matrices = []
        halves = np.divide(total.matrix, _positive(total.weight), out=empty(total.matrix.shape))
        for output, (half, diagonal) in enumerate(zip(halves, diagonals, strict=True)):
            matrix = np.add(half, half.T, out=empty(half.shape))
            np.fill_diagonal(matrix, np.diag(half))
            matrix = self.scaling.matrix(matrix, output, has_tail=bool(len(tail)))
            matrix[np.diag_indices(len(matrix))] += diagonal
            matrices.append(matrix)
        return matrices

    def sample(self, n_rows: int) -> Objective:
        """The objective over about ``n_rows`` of the rows, in the memory of this process; itself where there are fewer.

        The rows are spread evenly over each block and do not depend on the number of workers.
        """
        blocks = self.blocks.once(("sample", n_rows), lambda: self._rows(n_rows))
        return self if blocks is None else replace(self, blocks=blocks)

    def _rows(self, n_rows: int) -> Blocks | None:
        rows = self.blocks.sum(passes.CountRows())
        if rows <= n_rows:
            return None
        parts = self.blocks.sum(passes.TakeRows(n_rows / rows))
        pool = self.blocks.pool if self.blocks.pool.shares_memory else ThreadPool(1)
        join = partial(passes.joined, n_features=self.blocks.n_features)
        step = -(-len(parts) // _SAMPLE_BLOCKS)
        groups = [parts[i : i + step] for i in range(0, len(parts), step)]
        return self.blocks.view(MemorySource(tuple(pool.map(join, groups)), self.blocks.n_features), pool)

    def summed(self, task: Callable[..., Any], w: Vector, *options: Any) -> Any:
        """The sum over the blocks of a pass that looks at w: ``task(loss, predictor, key of w, *options)``."""
        out = self._outward(w)
        return self.blocks.sum(task(self.loss, self.predictor, self._key(out), *options), out)

    def _curved(self, task: type[passes.HessVec | passes.GaussNewtonVec], w: Vector, v: Vector) -> Vector:
        out = self._outward(w)
        total = self.blocks.sum(task(self.loss, self.predictor, self._key(out)), out, self._outward(v))
        return self._gradient(total, self.penalty.hess_dot(v, self.layout))

    def _key(self, w: Vector) -> bytes:
        """Names w among all vectors of all objectives: what is remembered at one is never taken for another."""
        return xxhash.xxh3_128_digest(np.ascontiguousarray(w).data) + self._token

    def _outward(self, w: Vector) -> Vector:
        """T w, as the blocks see it."""
        if np.shape(w) != (self.size,):
            raise SpecError(
                f"the parameter vector has the shape {np.shape(w)}; needed ({self.size},): "
                f"{self.blocks.n_features} features occur, and {self.layout.tail} parameters belong to none"
            )
        return self.scaling.outward(w, self.layout)

    def _value(self, total: passes.Partial, w: Vector) -> float:
        return total.value / _positive(total.weight) + self.penalty.value(w, self.layout)

    def _gradient(self, total: passes.Partial, of_penalty: Vector) -> Vector:
        assert total.vector is not None
        gradient = self.scaling.gradient(total.vector.dense(), self.layout)
        scale_and_add(1.0 / _positive(total.weight), gradient, np.ascontiguousarray(of_penalty, np.float64))
        return gradient

    def _mean(self, total: passes.Partial) -> Vector:
        assert total.vector is not None
        mean = total.vector.dense()
        mean /= _positive(total.weight)
        return mean


def head_of_each(m: int, outputs: int) -> int:
    """How many features a matrix of each output has, so that all together are not larger than one of ``m``."""
    return max(int(m / math.sqrt(outputs)), 1)


def _positive(weight: float) -> float:
    if not weight > 0:
        raise DataError(f"the weights of all rows add up to {weight:g}; needed more than 0")
    return weight
