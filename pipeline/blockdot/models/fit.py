"""From a data set and a recipe to a fitted model: the one way, for estimators and for jobs, linear or a network.

1. the targets: classes become 0, 1, …; what the loss cannot take is refused       (targets.py)
2. the objective: loss, predictor, penalty, and standardisation as a change of variables;
   features of one row merged where that is worth it                                (merging.py)
3. the solver, from w = 0, from the constant model, or from another model          (recipe.py, continuation.py)
4. the model, its coefficients in the units of the data                             (model.py)
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from blockdot.blocks.dataset import Dataset
from blockdot.blocks.sums import Blocks
from blockdot.blocks.tree import Pool
from blockdot.buffers import empty
from blockdot.errors import DataError, SpecError
from blockdot.models.architecture import initial_weights
from blockdot.models.continuation import minimized
from blockdot.models.journal import Callback, Journal
from blockdot.models.kinds import kind_of, make_loss
from blockdot.models.model import Fit, Model, ModelInfo
from blockdot.models.null_model import by_means, null_parameters
from blockdot.models.recipe import ONLINE, AnySolver, Recipe
from blockdot.models.targets import Tally, class_factors, class_labels, smoothed, tally
from blockdot.objective.losses import Loss, Squared
from blockdot.objective.merging import Merging, Unmerged, are_many, merged
from blockdot.objective.network import Network
from blockdot.objective.objective import Objective
from blockdot.objective.passes import is_coupled
from blockdot.objective.penalties import L2, Penalty
from blockdot.objective.predictors import Linear
from blockdot.objective.scaling import AsIs, Scaling, standardized
from blockdot.solvers import NewtonCG, Result
from blockdot.vectors import Vector, norm

logger = logging.getLogger(__name__)

# From so many outputs on, vectors over the features cost more than the entries of rows, and blocks of so many entries
# may be copied for it.
_MANY_OUTPUTS, _MOST_ENTRIES = 8, 1 << 23


def fit(
    data: Dataset,
    recipe: Recipe,
    pool: Pool,
    *,
    start: Model | None = None,
    journal: Journal | None = None,
    callbacks: Sequence[Callback] = (),
) -> tuple[Model, Result[Any]]:
    """Fit a model to ``data``.

    Parameters
    ----------
    data
        Rows with targets. For a loss of two classes exactly two labels, of which the larger is the positive class.
    pool
        Where to work: the result has the same bits for any.
    start
        A model to start from; its features may be others.
    journal
        What an earlier call of this fit has done, which is not done again.

    Raises DataError for rows without targets, targets that the loss cannot take, and one class only.
    """
    if recipe.solver == ONLINE:
        from blockdot.models.knowledge import fit_online  # which begins as every fit does: with what is below

        return fit_online(data, recipe, pool, start=start, journal=journal, callbacks=callbacks)[:2]
    journal = journal or Journal()
    journal.begin(data, recipe=recipe, start=start and (start.ids, start.coef, start.tail))
    with settled(data, recipe, pool) as (blocks, case), merged_view(blocks, data, case.recipe) as (view, merging):
        problem = _Problem.of(data, case.recipe, make_loss(case.recipe.loss, case.recipe.options), view, merging)
        w0, grad_scale = problem.start(case.found, start, journal)
        objective = problem.objective
        result, bound = minimized(
            objective,
            problem.solver,
            problem.recipe,
            problem.penalty_at,
            w0,
            deviation=case.found.deviation,
            grad_scale=grad_scale,
            is_cold=start is None,
            journal=journal,
            callbacks=problem.told(callbacks),
        )
    grad = merging.outward(result.state.grad, objective.layout)
    result = replace(result, w=merging.outward(result.w, objective.layout))
    result = replace(result, state=result.state._replace(w=result.w, grad=grad))
    w = objective.scaling.outward(result.w, objective.layout)
    outputs = getattr(objective.loss, "outputs", None)
    return case.model(w, outputs, case.record(problem.solver.name, result, bound)), result


@contextmanager
def settled(data: Dataset, recipe: Recipe, pool: Pool) -> Iterator[tuple[Blocks, Settled]]:
    """The blocks with their classes encoded and weighed, and what is settled about the fit; DataError if it cannot be.

    Raises DataError for rows without targets, targets that the loss cannot take, and one class only.
    """
    if not data.has_y or data.n_rows == 0:
        raise DataError(f"{data.path or 'this data set'} has {data.n_rows} rows and no targets to learn from")
    recipe, labels = by_classes(recipe, data)
    loss = make_loss(recipe.loss, recipe.options)
    with encoded(data, recipe, labels, pool).on(pool) as blocks:
        found = tally(data, blocks, loss, 0 if labels is None else len(labels))
        if found.has_offset and is_coupled(loss):
            raise DataError(
                f"{data.path or 'these rows'} have offsets, and one more number on every class changes no probability "
                "of the softmax: leave the offsets out, or take multi_class = 'one-vs-rest'"
            )
        with smoothed(blocks, found) as finite:
            constant = None
            if found.has_offset or np.any(found.is_constant):  # else the means say it
                plain = Objective(loss, Linear(True, getattr(loss, "outputs", None)), L2(0.0), finite)
                constant = tuple(null_parameters(plain, found)[-plain.layout.tail :].tolist())
            yield finite if recipe.fit_intercept else blocks, Settled(data, recipe, labels, found, constant)


@contextmanager
def merged_view(blocks: Blocks, data: Dataset, recipe: Recipe) -> Iterator[tuple[Blocks, Merging]]:
    """The blocks as they are, or with the features of one row merged, for many outputs and few entries."""
    if not merges(data, recipe):
        yield blocks, Unmerged()
        return
    with merged(blocks, data.table) as found:
        yield found


def merges(data: Dataset, recipe: Recipe) -> bool:
    """Whether the features of one row are merged, if that leaves few enough: the blocks are copied then."""
    outputs = recipe.options.get("outputs", 1)
    if not (isinstance(outputs, int) and outputs >= _MANY_OUTPUTS and data.nnz <= _MOST_ENTRIES):
        return False
    if recipe.network is not None or recipe.standardize or not are_many(data.table):
        return False
    penalty = recipe.make_penalty(data, AsIs())
    return type(penalty) is L2 and penalty.alpha > 0.0  # a plain one: it treats all features alike


def by_classes(recipe: Recipe, data: Dataset) -> tuple[Recipe, tuple[float, ...] | None]:
    """The recipe with the loss that the classes (or labels) of the data ask for, and the labels."""
    if recipe.loss == "logistic" and data.n_labels is not None:
        recipe = replace(recipe, loss="multi-label")
    elif recipe.loss == "logistic" and data.labels is not None and len(data.labels) > 2:
        recipe = replace(recipe, loss=recipe.multi_class)
    labels = class_labels(data, recipe.loss)
    if "outputs" in kind_of(recipe.loss).options:
        assert labels is not None
        recipe = replace(recipe, options={**recipe.options, "outputs": len(labels)})
    return recipe, labels


def encoded(data: Dataset, recipe: Recipe, labels: tuple[float, ...] | None, pool: Pool) -> Dataset:
    """The data with y as the loss has it, and the classes weighed."""
    if labels is None:
        return data
    if data.n_labels is not None:
        if recipe.class_weight is not None:
            raise SpecError(
                "class_weight goes with classes that exclude each other: a row with several labels would have several "
                "weights; leave it out, or weigh the rows by sample_weight"
            )
        return data
    plain = data.encoded(labels)
    if recipe.class_weight is None:
        return plain
    with plain.on(pool) as blocks:
        weight = tally(data, blocks, Squared(), len(labels)).classes
    names = labels if data.classes is None else data.classes
    return data.encoded(labels, class_factors(recipe.class_weight, labels, names, weight))


def _scaling(recipe: Recipe, blocks: Blocks) -> Scaling:
    """As the recipe has it; before a network features are scaled and not centred: its biases see to that."""
    if not recipe.standardize:
        return AsIs()
    return standardized(blocks, centre=recipe.fit_intercept and recipe.network is None)


@dataclass(frozen=True)
class _Problem:
    """An objective that is to be minimised, with what it was made of."""

    data: Dataset
    recipe: Recipe
    objective: Objective
    solver: AnySolver
    merging: Merging

    @classmethod
    def of(cls, data: Dataset, recipe: Recipe, loss: Loss, blocks: Blocks, merging: Merging) -> _Problem:
        predictor, scaling = recipe.predictor(getattr(loss, "outputs", None)), _scaling(recipe, blocks)
        objective = Objective(loss, predictor, recipe.make_penalty(data, scaling), blocks, scaling)
        solver, reason = recipe.make_solver(objective, data)
        logger.info("solver %s: %s", solver.name, reason)
        return cls(data, recipe, objective, solver, merging)

    def told(self, callbacks: Sequence[Callback]) -> Sequence[Callback]:
        """The callbacks, which hear of the parameters of the data set; what else is in a state is the solver's."""
        if isinstance(self.merging, Unmerged) or not callbacks:
            return callbacks
        layout, outward = self.objective.layout, self.merging.outward

        def of_the_data(state: Any) -> bool:
            ours = state._replace(w=outward(state.w, layout), grad=outward(state.grad, layout))
            answers = [callback(ours) for callback in callbacks]  # each of them is called
            return any(answers)

        return [of_the_data]

    def penalty_at(self, alpha: float) -> Penalty:
        """The penalty with another α."""
        return replace(self.recipe, alpha=alpha).make_penalty(self.data, self.objective.scaling)

    def start(self, found: Tally, model: Model | None, journal: Journal) -> tuple[Vector, float | None]:
        """Where to start, and the gradient norm that the stopping rule refers to; None for that at the start.

        The reference is the gradient at 0, wherever the fit starts. For a GLM, whose mean may not exist there, it is
        the gradient at the constant model, and at least √(Σ s y²/S) |μ'|/V(μ) there: the gradient of a feature that is
        all ones if all of y were unexplained.
        """
        objective = self.objective
        if isinstance(objective.predictor, Network):
            return (self._drawn(objective.predictor, found) if model is None else self._inward(model)), None
        origin, floor = self._constant(found, journal), self._score_scale(found)
        reference = objective.zeros() if floor is None else origin
        if model is None and not np.any(origin != reference) and floor is None:
            return origin, None
        _, gradient = objective.value_and_grad(reference)
        residual = gradient if objective.term is None else objective.term.residual(reference, gradient)
        scale = max(norm(residual), floor or 0.0)
        w0 = origin if model is None else self._inward(model)
        return w0, scale if 0.0 < scale < math.inf else None

    def _score_scale(self, found: Tally) -> float | None:
        loss: Any = self.objective.loss
        if not callable(getattr(loss, "targets_start", None)):
            return None
        mean = np.array([found.mean])
        slope = abs(float(loss.link.d1(loss.link.link(mean))[0])) / float(loss.variance(mean)[0])
        scale = math.sqrt(found.squares / found.weight) * slope
        return scale if math.isfinite(scale) else 0.0

    def _drawn(self, network: Network, found: Tally) -> Vector:
        """Random weights, and the outputs' biases of the best model without features, where the means say them."""
        objective, recipe = self.objective, self.recipe
        w0 = initial_weights(network, self.data, recipe.random_state)
        means = by_means(objective.loss, found)
        if means is not None:
            network.split(w0).biases[-1][:] = means
        return w0

    def _inward(self, model: Model) -> Vector:
        """Another model's parameters, in the layout of this objective; an intercept that it lacks is 0."""
        objective = self.objective
        if model.info.network != self.recipe.network:
            raise SpecError("the model to start from has other hidden layers than this one: needed the same")
        ours = getattr(objective.loss, "outputs", None)
        if model.outputs != ours:
            raise SpecError(
                f"the model to start from has {model.outputs or 1} outputs, this one {ours or 1}: "
                "start from a model of the same classes, or from none"
            )
        layout, tail = objective.layout, objective.layout.tail
        rows = model.parameters(self.data)[: len(self.data.table) * layout.width]
        own = np.concatenate([rows, model.tail if tail and len(model.tail) else np.zeros(tail)])
        return objective.scaling.inward(self.merging.inward(own, layout), layout)

    def _constant(self, found: Tally, journal: Journal) -> Vector:
        """w = 0, with the best intercept for a GLM; rows outside of the loss's domain are left by a first guess.

        Separate outputs have their best intercepts, too: those of rare labels are far from 0, and Newton steps on the
        logistic loss come down to them by about 1 each.
        """
        objective, loss = self.objective, self.objective.loss
        origin = objective.zeros()
        if self.recipe.fit_intercept and objective.layout.width > 1 and not is_coupled(loss):
            means = by_means(loss, found)
            assert means is not None
            origin[-len(means) :] = means
        if callable(getattr(loss, "targets_start", None)):
            if self.recipe.fit_intercept:
                origin[-1] = loss.start_z(found.mean)  # type: ignore[attr-defined]
            elif not math.isfinite(objective.value(origin)):
                guess = replace(objective, loss=_Working(loss))
                return journal.minimize(guess, NewtonCG(), origin, tol=1e-6, max_iter=20).w
        return origin


@dataclass(frozen=True)
class _Working:
    """Least squares on the link of the targets, moved inside of its domain: the first step of IRLS.

    McCullagh & Nelder, *Generalized Linear Models*, 2nd ed. (1989), section 2.5.
    """

    loss: Any

    def value(self, y: Vector, z: Vector, s: Vector | float) -> float:
        return Squared().value(self._z(y), z, s)

    def value_and_grad(self, y: Vector, z: Vector, s: Vector | float) -> tuple[float, Vector]:
        return Squared().value_and_grad(self._z(y), z, s)

    def hess_dot(self, y: Vector, z: Vector, s: Vector | float, u: Vector) -> Vector:
        return Squared().hess_dot(y, z, s, u)

    def predict(self, z: Vector) -> Vector:
        return z

    def _z(self, y: Vector) -> Vector:
        return np.asarray(self.loss.link.link(self.loss.targets_start(y)))


@dataclass(frozen=True)
class Settled:
    """What is settled of a fit before a solver begins: the recipe by the classes, the labels, the tally of y."""

    data: Dataset
    recipe: Recipe
    labels: tuple[float, ...] | None
    found: Tally
    constant: tuple[float, ...] | None
    """The intercepts of the best model without features, for rows with offsets."""

    def model(self, w: Vector, outputs: int | None, record: Fit) -> Model:
        """The model of the parameters ``w``, which are in the units of the data."""
        data, recipe = self.data, self.recipe
        info = ModelInfo(
            loss=recipe.loss,
            options=dict(recipe.options),
            intercept=recipe.fit_intercept,
            n_features=data.n_features,
            network=recipe.network,
            labels=self.labels,
            classes=None if self.labels is None else data.classes,
            target_mean=self.found.mean,
            class_shares=None if self.labels is None else self.found.shares,
            constant=self.constant,
            features=data.features,
            fit=record,
        )
        coef, tail = self.by_feature(w, outputs)
        return Model(info, np.sort(data.table.ids), coef, tail)

    def by_feature(self, w: Vector, outputs: int | None) -> tuple[Vector, Vector]:
        """The parameters of the features by ascending id, (k,), (k, K) or of a network (k, H₁), and the tail."""
        predictor = self.recipe.predictor(outputs)
        rows, tail = predictor.layout.split(w)
        if self.recipe.loss == "softmax" and len(tail):
            own = tail[-(outputs or 1) :]
            tail = np.concatenate([tail[: len(tail) - len(own)], own - np.mean(own)])  # no probability changes
        order = np.argsort(self.data.table.ids)
        ordered = np.take(rows, order, axis=0, out=empty(rows.shape), mode="clip")  # no copy between
        return ordered.reshape(len(rows), *predictor.row_shape), tail

    def record(self, solver: str, result: Result[Any], bound: float | None) -> Fit:
        """How the fit ended."""
        return Fit(
            alpha=self.recipe.alpha,
            l1_ratio=self.recipe.l1_ratio,
            standardize=self.recipe.standardize,
            restricted=self.recipe.restrictions,
            solver=solver,
            status=str(result.status),
            message=result.message,
            iterations=result.iterations,
            value=result.value,
            relative_grad_norm=result.relative_grad_norm,
            grad_norm=result.grad_norm,
            gap_bound=bound,
            rows=self.data.n_rows,
            store=self.data.digest,
        )
