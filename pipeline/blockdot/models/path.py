"""A path of penalties, judged by cross-validation, in shared passes.

    α_1 > α_2 > …,   W(α) = argmin (1/M) Σ_m F_m(w_m; α)        each started from the one before

The models of all folds, and that of all rows, are the columns of one W (objective/columns.py): a pass over the data
serves all of them. The path begins where an L1 penalty leaves nothing, α_max = maxⱼ |∂ℓ̄/∂wⱼ| / (ρ pⱼ) at w = 0 with the
best intercept, and falls to ``eps`` α_max in equal ratios (Friedman, Hastie & Tibshirani, J. Stat. Softw. 33 (2010),
section 2.5). Features are standardised, where that is asked for, by all rows, for all folds alike.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from blockdot.blocks.block import Block
from blockdot.blocks.dataset import Dataset
from blockdot.blocks.layout import Layout
from blockdot.blocks.sums import Blocks
from blockdot.blocks.tree import Pool
from blockdot.errors import DataError, SpecError
from blockdot.models.fit import Settled, settled
from blockdot.models.folds import FoldedSource, Folds, fold_weights, row_ids
from blockdot.models.journal import Callback, Journal
from blockdot.models.kinds import KINDS, make_loss
from blockdot.models.model import Fit, Model
from blockdot.models.recipe import Recipe
from blockdot.objective.certificate import gap_bound
from blockdot.objective.columns import Columns
from blockdot.objective.losses import Loss
from blockdot.objective.objective import Objective
from blockdot.objective.passes import raw, targets
from blockdot.objective.predictors import Linear, Predictor
from blockdot.objective.scaling import AsIs, standardized
from blockdot.solvers import Result
from blockdot.vectors import Vector, norm

logger = logging.getLogger(__name__)

_RIDGE = 1e-3  # the ratio that stands for ρ where α_max would be infinite, as in glmnet


@dataclass(frozen=True)
class Grid:
    """Which α: those that are given, or ``n_alphas`` from α_max down to ``eps`` α_max."""

    alphas: ArrayLike | None = None
    n_alphas: int = 100
    eps: float = 1e-3

    def values(self, largest: float) -> Vector:
        """The α, falling."""
        if self.alphas is not None:
            found = np.sort(np.atleast_1d(np.asarray(self.alphas, np.float64)))[::-1]
            if found.ndim != 1 or not found.size or not np.all(np.isfinite(found)) or found[-1] < 0:
                raise SpecError(f"alphas is {self.alphas!r}; needed finite numbers of at least 0")
            return found
        if not (self.n_alphas >= 1 and 0 < self.eps < 1):
            raise SpecError(
                f"n_alphas is {self.n_alphas!r} and eps {self.eps!r}; needed at least 1, and a number between 0 and 1"
            )
        top = largest if largest > 0.0 else 1.0
        return top * np.logspace(0.0, np.log10(self.eps), self.n_alphas)


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """The path's α (A,), the mean loss of each fold's own rows (A, n_folds), and the coefficients of all rows.

    ``coef`` is (A, n_features) and ``intercept`` (A,); ``best`` is the place of the α that was chosen.
    """

    alphas: Vector
    losses: Vector
    coef: Vector
    intercept: Vector
    best: int
    results: tuple[Result[Any], ...]


class Judged(NamedTuple):
    """The weight of each fold's own rows, and their mean loss by the fold's model: (n_folds,) each."""

    weights: Vector
    losses: Vector


@dataclass(frozen=True, eq=False)
class Sums:
    """One sum for each model or fold."""

    values: Vector

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.values + other.values)


@dataclass(frozen=True)
class FoldWeights:
    """Σ s of the rows that each model is fitted to."""

    folds: Folds
    layout: Layout = field(default_factory=Layout)

    def __call__(self, block: Block) -> Sums:
        return Sums(np.sum(fold_weights(block, self.folds), axis=0))


@dataclass(frozen=True)
class HeldOut:
    """Σ s, and Σ s ℓ, of the rows that each fold's model is judged by: (2, n_folds)."""

    loss: Loss
    predictor: Predictor
    folds: Folds

    @property
    def layout(self) -> Layout:
        return self.predictor.layout

    def __call__(self, block: Block, w: Vector) -> Sums:
        z, y, test = raw(self.predictor, block, w), targets(block), self.folds.test(row_ids(block))
        # the last column has the weights of the rows as they were, since all of them belong to it
        s = np.ones(block.n_rows) if block.sample_weight is None else block.sample_weight[:, -1]
        out = np.zeros((2, self.folds.n_folds))
        for m, judged in enumerate(test.T):
            weight = s[judged]
            out[:, m] = np.sum(weight), self.loss.value(y[judged], np.ascontiguousarray(z[judged, m]), weight)
        return Sums(out)


def fit_path(
    data: Dataset,
    recipe: Recipe,
    pool: Pool,
    grid: Grid,
    folds: Folds,
    *,
    rule: str = "best",
    journal: Journal | None = None,
    callbacks: Sequence[Callback] = (),
) -> tuple[Model, CrossValidation]:
    """The model of all rows at the α whose models lose least on the rows that they have not seen.

    ``journal``: what an earlier call of this fit has done, which is not done again.
    ``rule``: "best", or "1se" for the largest α whose loss is within one standard error of the least.

    Raises SpecError for losses of several outputs, and for those that have a kink; DataError for a fold without rows.
    """
    if rule not in ("best", "1se"):
        raise SpecError(f"rule is {rule!r}; needed 'best' or '1se'")
    journal = journal or Journal()
    journal.begin()
    with settled(data, recipe, pool) as (blocks, case):
        walk = _Walk.over(case, blocks, folds)
        alphas = grid.values(walk.alpha_max())
        losses, weights = np.empty((len(alphas), folds.n_folds)), np.empty(0)
        ws: list[Vector] = []
        results: list[Result[Any]] = []
        w = walk.origin()
        for i, alpha in enumerate(alphas):
            result = walk.at(alpha, w, journal, callbacks)
            w = result.w
            weights, losses[i] = journal.once(Judged, walk.judge, w)
            ws.append(w)
            results.append(result)
            logger.info("alpha %.3g: mean loss %.6g", alpha, np.average(losses[i], weights=weights))
        best = _choice(losses, weights, rule)
        record = walk.record(float(alphas[best]), ws[best], results[best])
    models = np.array([walk.last(w) for w in ws])
    case = replace(case, recipe=replace(case.recipe, alpha=float(alphas[best])))
    model = case.model(models[best], None, record)
    dense = np.zeros((len(alphas), data.n_features))
    dense[:, data.table.ids] = models[:, : len(data.table)]
    intercept = models[:, -1] if case.recipe.fit_intercept else np.zeros(len(alphas))
    return model, CrossValidation(alphas, losses, dense, intercept, best, tuple(results))


def _choice(losses: Vector, weights: Vector, rule: str) -> int:
    """The place of the α to choose; alphas fall, so the first within the bound is the largest."""
    mean = np.average(losses, axis=1, weights=weights)
    best = int(np.argmin(mean))
    if rule == "best":
        return best
    spread = np.average((losses[best] - mean[best]) ** 2, weights=weights)
    error = np.sqrt(spread / (losses.shape[1] - 1))
    return int(np.flatnonzero(mean <= mean[best] + error)[0])


@dataclass(frozen=True, eq=False)
class _Walk:
    """All models along the path."""

    case: Settled
    single: Objective
    """That of all rows, without a penalty."""
    together: Objective
    """Those of all folds and that of all rows, without a penalty."""
    folds: Folds
    solver_name: str

    @classmethod
    def over(cls, case: Settled, blocks: Blocks, folds: Folds) -> _Walk:
        recipe = case.recipe
        if KINDS[recipe.loss].targets == "classes":
            raise SpecError(
                f"a path in shared passes has one output a model, and {recipe.loss} has several: "
                "cross-validate it with scikit-learn's GridSearchCV"
            )
        if "smoothing" in KINDS[recipe.loss].options:
            raise SpecError(f"the loss {recipe.loss} has a kink: cross-validate it with scikit-learn's GridSearchCV")
        sums = blocks.sum(FoldWeights(folds)).values
        if np.any(sums[:-1] == 0.0):
            raise DataError(
                f"fold {int(np.argmin(sums[:-1]))} of n_samples = {case.data.n_rows} leaves no rows to learn from: "
                "use fewer folds, or more rows"
            )
        loss = make_loss(recipe.loss, recipe.options)
        scaling = standardized(blocks, centre=recipe.fit_intercept) if recipe.standardize else AsIs()
        penalty = replace(recipe, alpha=0.0).make_penalty(case.data, scaling)
        single = Objective(loss, Linear(recipe.fit_intercept), penalty, blocks, scaling)
        m = folds.n_folds + 1
        folded = Blocks(FoldedSource(blocks.source, folds, sums[-1] / sums), blocks.pool)
        together = Objective(Columns(loss, m), Linear(recipe.fit_intercept, m), penalty, folded, scaling)
        solver, _ = recipe.make_solver(_with(together, recipe, case.data, 1.0), case.data)
        return cls(case, single, together, folds, solver.name)

    def origin(self) -> Vector:
        """All models without features, their intercepts the best one of all rows."""
        w = self.together.zeros()
        w[len(w) - self.together.layout.tail :] = self._constant()
        return w

    def alpha_max(self) -> float:
        """The least α that leaves no feature in the model of all rows (as if ρ were at least 0.001)."""
        w = self.single.zeros()
        w[len(w) - self.single.layout.tail :] = self._constant()
        _, grad = self.single.value_and_grad(w)
        rows, _ = self.single.layout.split(grad)
        recipe = self.case.recipe
        weights = 1.0 if recipe.penalty_weights is None else np.asarray(recipe.penalty_weights, np.float64)
        p = np.broadcast_to(weights, (self.case.data.n_features,))[self.case.data.table.ids]
        return float(np.max(np.abs(rows[p > 0, 0]) / p[p > 0], initial=0.0)) / max(recipe.l1_ratio, _RIDGE)

    def at(self, alpha: float, w: Vector, journal: Journal, callbacks: Sequence[Callback]) -> Result[Any]:
        """The models at ``alpha``, from ``w``."""
        recipe = self.case.recipe
        objective = _with(self.together, recipe, self.case.data, float(alpha))
        solver, _ = recipe.make_solver(objective, self.case.data)
        return journal.minimize(
            objective, solver, w, tol=recipe.tol, max_iter=recipe.max_iter, grad_scale=self._scale,
            callbacks=callbacks,
        )  # fmt: skip

    def judge(self, w: Vector) -> Judged:
        """The weight of each fold's own rows, and their mean loss."""
        objective = self.together
        columns: Any = objective.loss
        task = HeldOut(columns.loss, objective.predictor, self.folds)
        weight, loss = objective.blocks.sum(task, objective.scaling.outward(w, objective.layout)).values
        if np.any(weight == 0.0):
            raise DataError(f"fold {int(np.argmin(weight))} has no rows to be judged by: use fewer folds")
        return Judged(weight, loss / weight)

    def last(self, w: Vector) -> Vector:
        """The parameters of the model of all rows, in the units of the data."""
        return self.single.scaling.outward(self._column(w), self.single.layout)

    def record(self, alpha: float, w: Vector, result: Result[Any]) -> Fit:
        """How the fit of all models ended, with the value, the residual and the bound of the model of all rows."""
        recipe, v = replace(self.case.recipe, alpha=alpha), self._column(w)
        objective = replace(self.single, penalty=recipe.make_penalty(self.case.data, self.single.scaling))
        value, residual = objective.value_and_grad(v)
        if objective.term is not None:
            value, residual = value + objective.term.value(v), objective.term.residual(v, residual)
        found = replace(result, w=v, value=value, grad_norm=norm(residual))
        bound = gap_bound(objective, v, residual)
        return replace(self.case, recipe=recipe).record(
            self.solver_name, found, bound if bound is not None and np.isfinite(bound) else None
        )

    def _column(self, w: Vector) -> Vector:
        rows, tail = self.together.layout.split(w)
        return np.concatenate([rows[:, -1], tail[-1:]])

    @cached_property
    def _scale(self) -> float:
        """The norm of the gradient where the path begins: what ``tol`` refers to at every α."""
        return max(norm(self.together.value_and_grad(self.origin())[1]), float(np.finfo(np.float64).tiny))

    def _constant(self) -> float:
        at_mean = getattr(self.single.loss, "start_z", None)
        return float(at_mean(self.case.found.mean)) if callable(at_mean) else 0.0


def _with(objective: Objective, recipe: Recipe, data: Dataset, alpha: float) -> Objective:
    """The objective with the recipe's penalty at α/M: the sums over M models are divided by M, too."""
    shared = replace(recipe, alpha=alpha / objective.layout.width)
    return replace(objective, penalty=shared.make_penalty(data, objective.scaling))
