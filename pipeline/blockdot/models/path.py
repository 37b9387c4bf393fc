"""A path of penalties, judged by cross-validation, in shared passes.

    α_1 > α_2 > …,   W(α) = argmin (1/M) Σ_m F_m(W_m; α)        each started where those before point (extrapolation.py)

The models of all folds, and that of all rows, are the columns of one W (objective/columns.py), K of them for a model of
K outputs: a pass over the data serves all of them. The path begins where an L1 penalty leaves nothing,

    α_max = max |∂ℓ̄/∂w| / (ρ p)      over all features and outputs, at the best model without penalised features

(of a group lasso max ‖∂ℓ̄/∂w_G‖/(ρ √|G|)), and falls to ``eps`` α_max in equal ratios (Friedman, Hastie & Tibshirani,
J. Stat. Softw. 33 (2010), section 2.5). Under an L1 penalty features that will be zero are left out of the rows
(screening.py), where that leaves much less of them; the gradient of all features says afterwards whether it was right,
and what was wrong comes back. Features are standardised, where that is asked for, by the rows that each model
is fitted to, all by one pass. A loss with a kink is approached through smooth ones at every α (continuation.py), and
judged as it is. Weights of classes are those of all rows, as scikit-learn has them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from blockdot.blocks.dataset import Dataset
from blockdot.blocks.sums import Blocks
from blockdot.blocks.tree import Pool
from blockdot.errors import DataError, SpecError
from blockdot.models.continuation import ever_nearer, minimized
from blockdot.models.extrapolation import Points, ahead, later
from blockdot.models.fit import Settled, settled
from blockdot.models.fold_sums import FoldWeights, HeldOut
from blockdot.models.folds import FoldedSource, Folds
from blockdot.models.journal import Callback, Ended, Journal
from blockdot.models.kinds import make_loss
from blockdot.models.model import Model
from blockdot.models.null_model import null_parameters
from blockdot.models.recipe import Recipe
from blockdot.models.screening import Found, Screening
from blockdot.objective.certificate import gap_bound
from blockdot.objective.columns import Columns
from blockdot.objective.objective import Objective
from blockdot.objective.predictors import Linear
from blockdot.objective.scaling import AsIs, Scaling, standardized
from blockdot.solvers import Result, Status
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
    """The path's α (A,), the mean loss of each fold's own rows (A, n_folds), and the models of all rows.

    ``coef`` is (A, k) or (A, k, K), by the ``ids`` (k,) of the features that occur, ascending; ``intercept`` (A,) or
    (A, K). ``best`` is the place of the α that was chosen. ``results`` say how the fits of all models at once ended,
    each with the w of the model of all rows alone.
    """

    alphas: Vector
    losses: Vector
    ids: NDArray[np.int64]
    coef: Vector
    intercept: Vector
    best: int
    results: tuple[Result[Any], ...]

    def dense_coef(self, n_features: int) -> Vector:
        """(A, n_features), or (A, K, n_features): 0 where a feature did not occur."""
        several = self.coef.shape[2:]
        dense = np.zeros((len(self.alphas), *several, n_features))
        dense[..., self.ids] = np.swapaxes(self.coef, 1, -1) if several else self.coef
        return dense


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

    Raises DataError for a fold without rows, and for one that leaves no row of a class (with or without a label) to
    learn from.
    """
    if rule not in ("best", "1se"):
        raise SpecError(f"rule is {rule!r}; needed 'best' or '1se'")
    if recipe.network is not None:
        raise SpecError("a path of alphas is walked in shared passes by linear models: fit a network for each alpha")
    if recipe.penalty is not None:
        raise SpecError("a penalty of your own has no alpha to choose: leave it out, or fit without cross-validation")
    journal = journal or Journal()
    journal.begin(data, recipe=recipe, grid=grid, folds=folds, rule=rule)
    with settled(data, recipe, pool) as (blocks, case), _walking(case, blocks, folds) as walk:
        alphas = grid.values(walk.alpha_max)
        grid_points = [tuple(alphas[: i + 1].tolist()) for i in range(len(alphas))]
        start = walk.origin[np.newaxis]
        steps = journal.along(_Step, grid_points, start, lambda so_far, ws: walk.at(so_far, ws, journal, callbacks))
        losses = np.array([step.judged.losses for step in steps])
        best = _choice(losses, steps[0].judged.weights, rule)
        model = walk.model(float(alphas[best]), steps[best])
    placed = [case.by_feature(step.own.w, model.outputs) for step in steps]
    tails = np.array([tail if len(tail) else np.zeros(model.outputs or 1) for _, tail in placed])
    return model, CrossValidation(
        alphas,
        losses,
        model.ids,
        np.array([rows for rows, _ in placed]),
        tails[:, 0] if model.outputs is None else tails,
        best,
        tuple(step.own.result() for step in steps),
    )


def _choice(losses: Vector, weights: Vector, rule: str) -> int:
    """The place of the α to choose; alphas fall, so the first within the bound is the largest."""
    mean = np.average(losses, axis=1, weights=weights)
    mean = np.where(np.isnan(mean), np.inf, mean)  # of a fit that diverged
    best = int(np.argmin(mean))
    if rule == "best":
        return best
    spread = np.average((losses[best] - mean[best]) ** 2, weights=weights)
    error = np.sqrt(spread / (losses.shape[1] - 1))
    return int(np.flatnonzero(mean <= mean[best] + error)[0])


class Judged(NamedTuple):
    """The weight of each fold's own rows, and their mean loss by the fold's model: (n_folds,) each."""

    weights: Vector
    losses: Vector

    @property
    def mean(self) -> float:
        """The mean loss of all of these rows."""
        return float(np.average(self.losses, weights=self.weights))


class _Step(NamedTuple):
    """What is kept of one α: how the folds' models were judged, and the model of all rows."""

    judged: Judged
    own: Ended
    """w in the units of the data; the gradient, or what stands for it, of its own objective, as that is scaled."""
    bound: float | None
    """Of how far all models together are above their minimum; None where features were left out."""
    solver: str


@dataclass(frozen=True, eq=False)
class _Walk:
    """All models along the path."""

    case: Settled
    single: Objective
    """That of all rows, without a penalty."""
    together: Objective
    """Those of all folds and that of all rows, without a penalty."""
    judged: Columns
    """The loss that they are judged by: without the smoothing that the solver sees."""
    folds: Folds
    screening: Screening

    @cached_property
    def alpha_max(self) -> float:
        """The least α that leaves no feature in the model of all rows (as if ρ were at least 0.001)."""
        recipe = replace(self.case.recipe, alpha=1.0, l1_ratio=max(self.case.recipe.l1_ratio, _RIDGE))
        penalty = recipe.make_penalty(self.case.data, self.single.scaling)
        term = penalty.term(self.single.size, self.single.layout)
        return 0.0 if term is None else term.dual_norm(self.single.value_and_grad(self._null)[1])

    @cached_property
    def origin(self) -> Vector:
        """All models where the best one of all rows is that has no penalised features."""
        single, together, models = self.single, self.together, self.judged.models
        rows, tail = single.layout.split(single.scaling.outward(self._null, single.layout))
        w = np.concatenate([np.tile(rows, (1, models)).ravel(), np.tile(tail, models)])
        return together.scaling.inward(w, together.layout)

    @cached_property
    def _null(self) -> Vector:
        p = self.case.recipe.weights_of(self.case.data)
        return null_parameters(self.single, self.case.found, None if np.all(p > 0.0) else (p > 0.0).astype(np.float64))

    @cached_property
    def _scale(self) -> float:
        """The norm of the gradient where the path begins: what ``tol`` refers to at every α."""
        return max(norm(self.together.value_and_grad(self.origin)[1]), float(np.finfo(np.float64).tiny))

    def at(
        self, alphas: Sequence[float], before: Points, journal: Journal, callbacks: Sequence[Callback]
    ) -> tuple[_Step, Points]:
        """The models at the last of ``alphas``; ``before`` are those at some of the others, and then with these.

        Where the path begins, ``before`` is the origin.
        """
        alpha = alphas[-1]
        recipe, together = replace(self.case.recipe, alpha=alpha), self.together
        penalty = recipe.make_penalty(self.case.data, together.scaling, self.judged.models)
        objective = replace(together, penalty=penalty)
        solver, _ = recipe.make_solver(objective, self.case.data)

        def solved(objective: Objective, w: Vector, told: Sequence[Callback] = callbacks) -> Found:
            return minimized(
                objective,
                solver,
                recipe,
                lambda _: penalty,
                w,
                deviation=self.case.found.deviation,
                grad_scale=self._scale,
                is_cold=False,
                journal=journal,
                callbacks=told,
            )

        def minimum(w: Vector) -> Found:
            return self.screening.minimum(objective, weaker, (last, w), solved, callbacks)

        weaker = max((alphas[-2] if len(alphas) > 1 else self.alpha_max) / alpha, 1.0) if alpha > 0.0 else 1.0
        last, start = before[-1], ahead(before, alphas[:-1], alpha)
        if objective.term is not None and not np.isfinite(objective.term.value(start)):
            start = last  # it lies outside of the bounds
        result, bound = minimum(start)
        if result.status is Status.DIVERGED and start is not last:
            result, bound = minimum(last)
        outward = together.scaling.outward(result.w, together.layout)
        judged = journal.once(Judged, self._judge, outward)
        residual = self.judged.models * self._last(result.state.grad)
        own = Ended.of(result)._replace(w=self._last(outward), grad=residual)
        logger.info("alpha %.3g: mean loss %.6g", alpha, judged.mean)
        following = (
            last[np.newaxis] if result.status is Status.DIVERGED else later(before[len(alphas) == 1 :], result.w)
        )
        return _Step(judged, own, bound, solver.name), following

    def model(self, alpha: float, step: _Step) -> Model:
        """The model of all rows, and how its fit ended: the value and the bound are its own."""
        recipe, single = replace(self.case.recipe, alpha=alpha), self.single
        penalty = recipe.make_penalty(self.case.data, single.scaling)
        objective = replace(single, loss=self.judged.loss, penalty=penalty)
        v = single.scaling.inward(step.own.w, single.layout)
        value = objective.value(v) + (0.0 if objective.term is None else objective.term.value(v))
        bound = step.bound
        if hasattr(self.judged, "smoothing"):
            bound = None if bound is None else self.judged.models * bound
        else:
            bound = gap_bound(objective, v, step.own.grad)
        case = replace(self.case, recipe=recipe)
        found = replace(step.own.result(), value=value, grad_norm=norm(step.own.grad))
        record = case.record(step.solver, found, bound if bound is not None and np.isfinite(bound) else None)
        return case.model(step.own.w, getattr(single.loss, "outputs", None), record)

    def _judge(self, w: Vector) -> Judged:
        task = HeldOut(self.judged, self.together.predictor, self.folds)
        weights, losses = self.together.blocks.sum(task, w).values
        if np.any(weights == 0.0):
            raise DataError(f"fold {int(np.argmin(weights))} has no rows to be judged by: use fewer folds")
        return Judged(weights, losses / weights)

    def _last(self, w: Vector) -> Vector:
        """The parameters of the model of all rows among those of all models."""
        rows, tail = self.together.layout.split(w)
        outputs = self.single.layout.width
        return np.concatenate([rows[:, -outputs:].ravel(), tail[-outputs:] if len(tail) else tail])


@contextmanager
def _walking(case: Settled, blocks: Blocks, folds: Folds) -> Iterator[_Walk]:
    """The walk over the blocks of ``case``."""
    recipe, data, models = replace(case.recipe, alpha=0.0), case.data, folds.n_folds + 1
    folds = folds.settled(blocks)
    weight = _weights(case, blocks, folds)
    smooth = ever_nearer(make_loss(recipe.loss, recipe.options), case.found.deviation, recipe.options)
    outputs = getattr(smooth[0], "outputs", None)
    columns = Columns.of(smooth[0], models)
    with blocks.view(FoldedSource(blocks.source, folds, weight[-1] / weight)) as folded:
        own, every = _scalings(recipe, folded, models, outputs or 1)
        predictor, wide = Linear(recipe.fit_intercept, outputs), Linear(recipe.fit_intercept, columns.outputs)
        single = Objective(smooth[0], predictor, recipe.make_penalty(data, own), blocks, own)
        together = Objective(columns, wide, recipe.make_penalty(data, every, models), folded, every)
        screening = Screening(together, data.table.count)
        yield _Walk(case, single, together, Columns.of(smooth[-1], models), folds, screening)


def _weights(case: Settled, blocks: Blocks, folds: Folds) -> Vector:
    """(M,) Σ s of the rows that each model is fitted to; DataError for a fold that leaves too little."""
    data, labels = case.data, case.labels or ()
    sums = blocks.sum(FoldWeights(folds, len(labels))).values
    names = [f"{label:g}" for label in labels] if data.classes is None else list(data.classes)
    needed = [f"of the class {name}" for name in names]
    if data.n_labels is not None:
        needed = [f"{how} the label {name}" for how in ("with", "without") for name in names]
    missing = np.argwhere(sums[:, :-1] == 0.0)
    if len(missing):
        place, fold = missing[0].tolist()
        what = f"no row {needed[place]}" if needed else "no rows"
        found = f"n_samples = {data.n_rows}, n_features = {data.n_features}"
        raise DataError(f"fold {fold} of the data ({found}) leaves {what} to learn from: use fewer folds, or more rows")
    return np.asarray(np.sum(sums, axis=0)) / (data.n_labels or 1)


def _scalings(recipe: Recipe, folded: Blocks, models: int, outputs: int) -> tuple[Scaling, Scaling]:
    """That of the model of all rows, and those of all models, each by the rows that it is fitted to."""
    if not recipe.standardize:
        return AsIs(), AsIs()
    found = standardized(folded, centre=recipe.fit_intercept, models=models)
    return found.of(slice(models - 1, models)), found.repeated(outputs)
