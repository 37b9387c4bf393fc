"""Minimising through easier problems, each started where the last one ended.

    an L1 penalty        …, 100 α, 10 α, α      from where it leaves nothing: fewer parameters move that must stop at
                         zero again, so the quadratic models of the Newton steps are smaller and better
    a loss with a kink   h, h/10, h/100, …      smooth losses ever nearer to it, until what is left of the smoothing is
                         below ``tol`` of the value: a bound that is certain

Friedman, Hastie & Tibshirani, *J. Stat. Softw.* 33 (2010), section 2.5, for the first; Nesterov, *Math. Program.* 103
(2005), for the second. docs/design.md has what they save. ``max_iter`` counts the iterations of each problem.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from blockdot.models.journal import Callback, Journal
from blockdot.models.recipe import AnySolver, Recipe
from blockdot.objective.certificate import gap_bound
from blockdot.objective.objective import Objective
from blockdot.objective.penalties import Penalty
from blockdot.objective.terms import Separable
from blockdot.solvers import ProximalNewton, Result, Status
from blockdot.vectors import Vector, norm

_WEAKER = 10.0  # how much weaker each penalty is than the one before
_ON_THE_WAY = 5e-4  # the tolerance of all but the last of them

_NEARER = 10.0  # how much nearer to the kink each smooth loss is
_MOST = 13  # of them: the last is nearer than rounding


def minimized(
    objective: Objective,
    solver: AnySolver,
    recipe: Recipe,
    penalty_at: Callable[[float], Penalty],
    w0: Vector,
    *,
    deviation: float,
    grad_scale: float | None,
    is_cold: bool,
    journal: Journal,
    callbacks: Sequence[Callback],
) -> tuple[Result[Any], float | None]:
    """The minimum, and a bound of how far it is above the least value of the loss as the recipe names it.

    ``deviation`` is that of y, ``penalty_at`` the penalty with another α; ``is_cold`` says that ``w0`` knows nothing.
    """
    run = _Run(journal, solver, recipe, w0, grad_scale, tuple(callbacks))
    loss, *nearer = ever_nearer(objective.loss, deviation, recipe.options)
    objective = replace(objective, loss=loss)
    if is_cold and isinstance(solver, ProximalNewton) and isinstance(objective.term, Separable):
        for alpha in run.weaker_and_weaker(objective, objective.term):
            run.go_on(replace(objective, penalty=penalty_at(alpha)), max(recipe.tol, _ON_THE_WAY))
    result = run.go_on(objective, recipe.tol)
    for loss in nearer:
        if not result.converged or _bias(objective) <= recipe.tol * abs(result.value):
            break
        objective = replace(objective, loss=loss)
        result = run.go_on(objective, recipe.tol)
    result = replace(result, iterations=run.iterations, evaluations=run.passes)
    if result.status is Status.DIVERGED:
        return result, None
    bound = gap_bound(objective, result.w, result.state.grad)
    return result, None if bound is None or not math.isfinite(bound) else bound + _bias(objective)


@dataclass
class _Run:
    """Where a minimisation in stages stands."""

    journal: Journal
    solver: Any
    recipe: Recipe
    w: Vector
    grad_scale: float | None
    callbacks: tuple[Callback, ...]
    iterations: int = 0
    passes: int = 0

    def go_on(self, objective: Objective, tol: float) -> Result[Any]:
        """Minimise from where the last stage ended."""
        result = self.journal.minimize(
            self.recipe.seen(objective),
            self.solver,
            self.w,
            tol=tol,
            max_iter=self.recipe.max_iter,
            grad_scale=self.grad_scale,
            callbacks=self.callbacks,
        )
        self.iterations += result.iterations
        self.passes += result.evaluations
        if result.status is not Status.DIVERGED:
            self.w = result.w
        return result

    def weaker_and_weaker(self, objective: Objective, term: Separable) -> Iterator[float]:
        """The α on the way, falling; none where the penalty leaves nothing, or about as much as without it."""
        _, grad = objective.value_and_grad(self.w)
        self.passes += 1
        if self.grad_scale is None:
            self.grad_scale = norm(term.residual(self.w, grad)) or None
        reach = term.dual_norm(grad)
        for m in range(int(math.log(reach, _WEAKER)) if reach > 1.0 else 0, 0, -1):
            yield self.recipe.alpha * _WEAKER**m


def _bias(objective: Objective) -> float:
    return float(getattr(objective.loss, "bias_bound", 0.0))


def ever_nearer(loss: Any, deviation: float, options: Mapping[str, object]) -> list[Any]:
    """The loss itself; for one that has a kink and names no smoothing of its own, smooth ones ever nearer to it."""
    if not hasattr(loss, "smoothing") or "smoothing" in options:
        return [loss]
    widest = deviation if deviation > 0.0 else 1.0
    return [loss.smoothed(widest / _NEARER**i) for i in range(_MOST)]
