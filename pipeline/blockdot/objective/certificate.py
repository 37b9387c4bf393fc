"""How far a point can be from the minimum, at most.

F is α-strongly convex in the penalised parameters v, and the intercept b is not penalised. Let G(v) = min_b F(v, b),
which is α-strongly convex too, and b* the minimiser. With g the gradient of F at (v, b), h = ∂²F/∂b², τ = |g_b|/h:

    F(v, b) − F*  ≤  |g_b| δ  +  (‖g_v‖ + δ e^{Mδ} √(h T))² / (2α),        δ = −log(1 − Mτ)/M  ≥  |b − b*|

The first term bounds F(v, b) − G(v) by convexity in b; the second is ‖∇G(v)‖²/(2α) ≥ G(v) − F*, its bracket a bound of
‖∇_v F(v, b*)‖ by Cauchy–Schwarz, T being the trace of the Hessian of the mean loss with respect to v. M bounds
|ℓ'''| ≤ M ℓ'' (Bach, *Electronic Journal of Statistics* 4 (2010), section 2: self-concordance as the logistic loss has
it): 1 for the logistic loss; 0 for the squared one, where δ = τ.
"""

from __future__ import annotations

import math

from blockdot.objective.duality import duality_gap
from blockdot.objective.objective import Objective
from blockdot.vectors import Vector, norm


def gap_bound(objective: Objective, w: Vector, grad: Vector) -> float | None:
    """A bound of F(w) − F*, given the gradient at ``w``; None where none is known.

    Where the penalty has a term that is not smooth, ``grad`` is the residual, a subgradient of the whole: the bound
    holds for the whole, because all that is used of F is that a subgradient supports it.

    There is none for a loss that is not known to be convex (``loss.is_convex``), and none where a weight is not
    penalised. With an intercept it costs one pass; where no M is known (``loss.self_concordance``), several intercepts
    are there, the only one is too far from its best value, or the penalty is not strongly convex, it is the duality gap
    (duality.py), of two passes or three, where the loss has a conjugate, and nothing bounds a weight.
    """
    alpha, tail = objective.penalty.strong_convexity, objective.layout.split(grad)[1]
    if not getattr(objective.loss, "is_convex", False):
        return None
    if alpha > 0.0 and not tail.size:
        return norm(grad) ** 2 / (2.0 * alpha)
    found = math.inf
    if alpha > 0.0 and tail.size == 1 and objective.predictor.is_affine:
        found = _by_concordance(objective, w, grad)
    return found if found < math.inf else duality_gap(objective, w)


def _by_concordance(objective: Objective, w: Vector, grad: Vector) -> float:
    """The bound above; ∞ where no M is known, or the intercept is too far away."""
    m = getattr(objective.loss, "self_concordance", None)
    if m is None:
        return math.inf
    alpha, layout = objective.penalty.strong_convexity, objective.layout
    rows, tail = layout.split(grad)
    diagonal, (h,) = layout.split(objective.hess_diag(w))
    slope = abs(float(tail[0]))
    ridge, _ = layout.split(objective.penalty.hess_diag(objective.size, layout))
    trace = max(float(diagonal.sum() - ridge.sum()), 0.0)
    tau = slope / h if h > 0.0 else math.inf
    if not m * tau < 1.0:
        return math.inf
    delta = -math.log1p(-m * tau) / m if m > 0.0 else tau
    return slope * delta + (norm(rows.ravel()) + delta * math.exp(m * delta) * math.sqrt(h * trace)) ** 2 / (
        2.0 * alpha
    )
