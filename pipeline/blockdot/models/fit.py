"""From a data set and an objective's parts to a fitted model: the one way, for estimators and for jobs.

F(w, b) = (1/S) Σ s ℓ(y, x·w + b + o) + α/2 ‖w‖²
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from blockdot.blocks.block import Block
from blockdot.blocks.dataset import Dataset
from blockdot.blocks.layout import Layout
from blockdot.blocks.tree import Pool
from blockdot.errors import DataError, SpecError
from blockdot.models.model import LOSSES, Fit, Model, ModelInfo
from blockdot.objective.certificate import gap_bound
from blockdot.objective.objective import Objective
from blockdot.objective.passes import Partial, targets, weights
from blockdot.objective.penalties import L2
from blockdot.objective.predictors import Linear
from blockdot.solvers import (
    LBFGS,
    Backtracking,
    GradientDescent,
    NewtonCG,
    NewtonCholesky,
    Result,
    State,
    Status,
    minimize,
)
from blockdot.vectors import Vector

logger = logging.getLogger(__name__)

# A Hessian of more features is not made as a matrix: its factor alone would cost more than the products do.
_FEW_FEATURES = 1024
# Nor where rows are longer: the matrix costs the square of the non-zeros of a row, a product twice their number.
_SHORT_ROWS = 128

SOLVERS = ("auto", "newton-cg", "newton-cholesky", "lbfgs", "gradient-descent")
AnySolver = NewtonCG | NewtonCholesky | LBFGS | GradientDescent | Backtracking
Callback = Callable[[State], bool | None]


@dataclass(frozen=True)
class Recipe:
    """What to fit and how. ``step`` is a fixed step for gradient descent; without it the step is searched."""

    loss: Literal["logistic", "squared"]
    alpha: float = 1e-6
    fit_intercept: bool = True
    solver: str = "auto"
    step: float | None = None
    tol: float = 1e-6
    max_iter: int = 100

    def __post_init__(self) -> None:
        if self.solver not in SOLVERS:
            raise SpecError(f"solver is {self.solver!r}; needed one of {', '.join(SOLVERS)}")
        if self.step is not None and self.solver != "gradient-descent":
            raise SpecError(f"step goes with solver = 'gradient-descent', not with {self.solver!r}: remove it")

    def make_solver(self, data: Dataset) -> tuple[AnySolver, str]:
        """The solver that the recipe names, or the one that suits the data, and the reason."""
        if self.solver == "auto":
            return _choose(data, LOSSES[self.loss])
        descent = Backtracking() if self.step is None else GradientDescent(self.step)
        named: dict[str, AnySolver] = {
            "newton-cg": NewtonCG(),
            "newton-cholesky": NewtonCholesky(),
            "lbfgs": LBFGS(),
            "gradient-descent": descent,
        }
        return named[self.solver], "as asked for"


def _choose(data: Dataset, loss: object) -> tuple[AnySolver, str]:
    """The solver: by the Hessian where there is one, factored where it is small and cheap to make, else by products."""
    if not callable(getattr(loss, "hess_dot", None)):
        return LBFGS(), f"the loss {type(loss).__name__} has a gradient and no second derivative"
    k, a_row = len(data.table), data.nnz / max(data.n_rows, 1)
    if k <= _FEW_FEATURES and a_row <= _SHORT_ROWS:
        return NewtonCholesky(), f"{k:,} features occur: their Hessian is a small matrix, made in one pass"
    if k <= _FEW_FEATURES:
        return NewtonCG(), f"rows have {a_row:,.0f} non-zeros: products with the Hessian are cheaper than its matrix"
    return NewtonCG(), f"{k:,} features occur: the Hessian is used by products, never made"


@dataclass(frozen=True)
class TargetSum:
    """Σ s and Σ s y."""

    layout: Layout = field(default_factory=Layout)

    def __call__(self, block: Block) -> Partial:
        return Partial(block.weight, float(np.sum(weights(block) * targets(block))))


def fit(
    data: Dataset, recipe: Recipe, pool: Pool, *, start: Model | None = None, callbacks: Sequence[Callback] = ()
) -> tuple[Model, Result[Any]]:
    """Fit a linear model to ``data``.

    Parameters
    ----------
    data
        Rows with targets; for the logistic loss with exactly two labels, of which the larger is the positive class.
    pool
        Where to work: the result has the same bits for any.
    start
        A model to start from; its features may be others.

    Raises DataError for rows without targets, and for one class only or more than two.
    """
    if not data.has_y or data.n_rows == 0:
        raise DataError(f"{data.path or 'this data set'} has {data.n_rows} rows and no targets to learn from")
    if recipe.loss == "squared" and data.classes is not None:
        raise DataError(
            f"{data.path or 'y'} has text labels ({', '.join(data.classes[:5])}); a regression needs numbers: "
            "fit a logistic model, or name a numeric label"
        )
    labels = two_labels(data) if recipe.loss == "logistic" else None
    training = data if labels is None else data.encoded(labels)
    with training.on(pool) as blocks:
        mean = blocks.sum(TargetSum())
        if labels is not None and not 0 < mean.value < mean.weight:
            raise DataError(f"{data.path or 'y'}: all the weight lies on one class; needed rows of both that count")
        objective = Objective(LOSSES[recipe.loss], Linear(recipe.fit_intercept), L2(recipe.alpha), blocks)
        solver, reason = recipe.make_solver(data)
        logger.info("solver %s: %s", solver.name, reason)
        result = _minimize(objective, recipe, solver, _start(start, data, recipe), callbacks)
        diverged = result.status is Status.DIVERGED
        bound = None if diverged else gap_bound(objective, result.w, result.state.grad)
    how = _Ending(solver.name, result, bound if bound is not None and math.isfinite(bound) else None)
    return _model(data, recipe, labels, mean.value / mean.weight, how), result


def _start(model: Model | None, data: Dataset, recipe: Recipe) -> Vector | None:
    if model is None:
        return None
    coef = model.parameters(data)[: len(data.table)]
    return np.append(coef, model.intercept) if recipe.fit_intercept else coef


def two_labels(data: Dataset) -> tuple[float, ...]:
    """The two labels of a binary data set, ascending."""
    where = data.path or "y"
    if data.labels is None:
        raise DataError(f"{where} has more than 256 distinct labels; a classifier of two classes needed 2")
    if len(data.labels) != 2:
        found = ", ".join(f"{label:g}" for label in data.labels[:5])
        reason = "one class only" if len(data.labels) == 1 else f"{len(data.labels)} classes"
        raise DataError(f"{where} has {reason} (labels: {found}); needed exactly 2 to tell apart")
    return data.labels


def _minimize(
    objective: Objective, recipe: Recipe, solver: AnySolver, w0: Vector | None, callbacks: Sequence[Callback]
) -> Result[Any]:
    scale = None
    if w0 is not None:  # the reference of the stopping rule is the gradient at 0, wherever the fit starts
        _, gradient = objective.value_and_grad(objective.zeros())
        scale = float(np.sqrt(np.sum(gradient**2)))
    start = objective.zeros() if w0 is None else w0
    any_solver: Any = solver
    return minimize(
        objective, any_solver, start, tol=recipe.tol, max_iter=recipe.max_iter, grad_scale=scale, callbacks=callbacks
    )


@dataclass(frozen=True)
class _Ending:
    """How a minimisation ended."""

    solver: str
    result: Result[Any]
    gap_bound: float | None


def _model(data: Dataset, recipe: Recipe, labels: tuple[float, ...] | None, mean: float, ending: _Ending) -> Model:
    k, result = len(data.table), ending.result
    order = np.argsort(data.table.ids)
    record = Fit(
        alpha=recipe.alpha,
        solver=ending.solver,
        status=str(result.status),
        message=result.message,
        iterations=result.iterations,
        value=result.value,
        relative_grad_norm=result.relative_grad_norm,
        grad_norm=result.grad_norm,
        gap_bound=ending.gap_bound,
        rows=data.n_rows,
        store=data.digest,
    )
    info = ModelInfo(
        loss=recipe.loss,
        intercept=recipe.fit_intercept,
        n_features=data.n_features,
        labels=labels,
        classes=None if labels is None else data.classes,
        target_mean=mean,
        features=data.features,
        fit=record,
    )
    return Model(info, data.table.ids[order], result.w[:k][order], result.w[k:])
