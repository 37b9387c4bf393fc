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

from blockdot.objective.objective import Objective
from blockdot.vectors import Vector, norm


def gap_bound(objective: Objective, w: Vector, grad: Vector) -> float | None:
    """A bound of F(w) − F*, given the gradient at ``w``; None where none is known.

    Where the penalty has a term that is not smooth, ``grad`` is the residual, a subgradient of the whole: the bound
    holds for the whole, because all that is used of F is that a subgradient supports it.

    There is none without a penalty, and for a loss of which no M is known (``loss.self_concordance``). With an
    intercept it costs one pass; it is infinite where the intercept is too far from its best value.
    """
    alpha = objective.penalty.strong_convexity
    if not alpha > 0.0:
        return None
    layout = objective.predictor.layout
    rows, tail = layout.split(grad)
    if not tail.size:
        return norm(rows.ravel()) ** 2 / (2.0 * alpha)
    m = getattr(objective.loss, "self_concordance", None)
    if m is None or tail.size > 1 or not objective.predictor.is_affine:
        return None
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
