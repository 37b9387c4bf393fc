"""How far a point can be from the minimum, at most, by a point of the dual problem.

    F(v, b) = (1/S) Σ s ℓ(y, z) + R(v),   z = x·v + b + o,   R(v) = Σⱼ λⱼ|vⱼ| + ½ dⱼ vⱼ²

For any u with Σ s u = 0 (where there is an intercept), and g = (1/S) Σ s u x, Fenchel's inequality, row by row and
feature by feature, says

    F(v, b) − F*  ≤  (1/S) Σ s [ℓ(y, z) + ℓ*(y, u) − u z]  +  Σⱼ [λⱼ|vⱼ| + ½ dⱼ vⱼ² + gⱼ vⱼ + (|gⱼ| − λⱼ)₊²/(2 dⱼ)]

with (|gⱼ| − λⱼ)₊ = 0 asked for where dⱼ = 0 (Rockafellar, *Convex Analysis* (1970), section 31; Rifkin & Lippert,
*JMLR* 8 (2007), for these problems). Neither sum has a term below 0, and both are 0 at the minimum.

u is ∂ℓ/∂z at the point, balanced: the slopes above 0, or those below, are multiplied by a factor of at most 1, one for
each output, so that both weigh the same; the softmax has a way of its own (Softmax.balanced). Then all are multiplied
by one factor, so that no |gⱼ| is above its λⱼ where dⱼ = 0. ℓ* is finite from 0 to ∂ℓ/∂z.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from blockdot.blocks.block import Block
from blockdot.blocks.layout import FeatureSum
from blockdot.buffers import zeros
from blockdot.objective.losses import Weights
from blockdot.objective.objective import Objective
from blockdot.objective.passes import Gather, LossPass, MatrixPartial, Partial, targets, weights
from blockdot.objective.penalties import L2, ElasticNet
from blockdot.objective.terms import Separable
from blockdot.vectors import Vector, inner

# So much is taken off the largest |g| beside what the penalty holds, for rounding.
_WITHIN = 1.0 - 1e-12
_EPS = float(np.finfo(np.float64).eps)  # what a sum of losses is known to


@dataclass(frozen=True)
class Slopes(LossPass):
    """(2, K) what has to balance: the sums of s ∂ℓ/∂z where it is above 0, and where it is below, or the loss's own."""

    gathers_late = True

    def __call__(self, block: Block, w: Gather) -> MatrixPartial:
        y, s = targets(block), weights(block)
        _, slope = self.loss.value_and_grad(y, self.z(block, w), 1.0)
        return MatrixPartial(block.weight, getattr(self.loss, "slope_sums", _by_sign)(y, slope, s))


@dataclass(frozen=True)
class DualPoint(LossPass):
    """Σ s [ℓ + ℓ* − u z], and Jᵀ (s u), u being ``share`` times the slopes, balanced where there are ``sums``."""

    sums: Vector | None = None
    share: float = 1.0

    def __call__(self, block: Block, w: Vector) -> Partial:
        loss: Any = self.loss
        gap, vector, at_rows, end = 0.0, zeros(w.shape), self.z(block, lambda: w), 0
        for tile in self.tiles(block):
            start, end = end, end + tile.n_rows
            y, z, s = targets(tile), at_rows[start:end], weights(tile)
            value, (_, u) = loss.value(y, z, s), loss.value_and_grad(y, z, 1.0)
            if self.sums is not None:
                u = getattr(loss, "balanced", _balanced)(y, u, self.sums)
            u = self.share * u
            gap += value + float(np.sum(_weighed(loss.conjugate(y, u) - u * z, s))) + _EPS * abs(value)
            self.predictor.linearize(w, tile.X).vjp(np.ascontiguousarray(_weighed(u, s)), vector)
        return Partial(block.weight, gap, FeatureSum.of(block, vector, self.layout))


def duality_gap(objective: Objective, w: Vector) -> float | None:
    """A bound of F(w) − F*, by one to three passes; None where the loss has no conjugate, or a weight no penalty.

    For L2 penalties and elastic nets without bounds. It knows F to rounding, and so is never 0.
    """
    term, has_dual = objective.term, callable(getattr(objective.loss, "conjugate", None))
    if not (has_dual and objective.predictor.is_affine and isinstance(objective.penalty, (L2, ElasticNet))):
        return None
    if not (term is None or (isinstance(term, Separable) and not term.is_bounded)):
        return None
    held = slice(0, objective.size - objective.layout.free)
    if isinstance(objective.penalty, L2):
        alpha = objective.penalty.alpha
        if not alpha > 0.0:
            return None
        sums = _sums(objective, w)
        of_rows, g = _at(objective, w, sums, 1.0)
        return of_rows + _of_ridge(w[held], g[held], alpha)
    ridge = objective.penalty.hess_diag(objective.size, objective.layout)[held]
    l1 = np.zeros_like(ridge) if term is None else term.l1[held]
    if np.any((ridge == 0.0) & (l1 == 0.0)):
        return None
    sums = _sums(objective, w)
    of_rows, g = _at(objective, w, sums, 1.0)
    kinks = (ridge == 0.0) & (l1 > 0.0)
    most = float(np.max(np.abs(g[held][kinks]) / l1[kinks], initial=0.0))
    if most > _WITHIN:
        of_rows, g = _at(objective, w, sums, _WITHIN / most)
    return of_rows + _of_penalty(w[held], g[held], ridge, l1)


def _sums(objective: Objective, w: Vector) -> Vector | None:
    """What has to balance; None without an intercept."""
    return np.asarray(objective.summed(Slopes, w).matrix) if objective.layout.free else None


def _by_sign(y: Vector, slope: Vector, s: Weights) -> Vector:  # noqa: ARG001
    columns = _weighed(slope, s).reshape(len(slope), -1)
    return np.stack([np.sum(part, axis=0) for part in (np.maximum(columns, 0.0), -np.minimum(columns, 0.0))])


def _balanced(y: Vector, slope: Vector, sums: Vector) -> Vector:  # noqa: ARG001
    above, below = np.divide(np.min(sums, axis=0), sums, out=np.ones_like(sums), where=sums > 0.0)
    return np.asarray(slope * np.where(slope > 0.0, above, below))


def _at(objective: Objective, w: Vector, sums: Vector | None, share: float) -> tuple[float, Vector]:
    """The rows' part of the gap, and g."""
    total: Partial = objective.summed(DualPoint, w, sums, share)
    assert total.vector is not None
    g = objective.scaling.gradient(total.vector.dense(), objective.layout)
    g /= total.weight
    return max(total.value, 0.0) / total.weight, g


def _of_ridge(v: Vector, g: Vector, alpha: float) -> float:
    """‖α v + g‖²/(2α), by inner products: no vector is made; and what rounding may have taken."""
    ridge = 0.5 * alpha * inner(v, v)
    return max(ridge + inner(g, v) + inner(g, g) / (2.0 * alpha), 0.0) + 4.0 * _EPS * ridge


def _of_penalty(v: Vector, g: Vector, ridge: Vector, l1: Vector) -> float:
    """The features' part of the gap."""
    beyond: Vector = np.maximum(np.abs(g) - l1, 0.0)
    conjugate = np.divide(0.5 * beyond**2, ridge, out=np.zeros_like(beyond), where=ridge > 0.0)
    return float(np.sum(np.maximum(l1 * np.abs(v) + 0.5 * ridge * v**2 + g * v + conjugate, 0.0)))


def _weighed(v: Vector, s: Weights) -> Vector:
    """S v, one weight a row."""
    return s * v if isinstance(s, float) or s.shape == v.shape else s[:, np.newaxis] * v
