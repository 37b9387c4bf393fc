"""Online learning from a data set to a model, and on from there with other rows.

What is known of a feature, its parameters and the slots of the update rule, belongs to its id. Rows that come later
bring their own features: what is known of those is looked up, those never seen before begin at 0, and all others are
not looked at. So an id of a hash space of any width gets a weight when it first occurs.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blockdot.blocks.dataset import Dataset
from blockdot.blocks.layout import Layout
from blockdot.blocks.sums import Blocks
from blockdot.blocks.table import FeatureTable
from blockdot.blocks.tree import Pool
from blockdot.errors import DataError, SpecError
from blockdot.models.architecture import AnyPredictor, initial_weights
from blockdot.models.fit import Settled, by_classes, encoded, settled
from blockdot.models.held_out import held_out
from blockdot.models.journal import Callback, Journal, digest_of
from blockdot.models.kinds import kind_of, make_loss
from blockdot.models.learning import Learnt, Penalized, course, learn
from blockdot.models.model import Fit, Model
from blockdot.models.recipe import Recipe
from blockdot.models.stochastic import Course, Learner, Point
from blockdot.models.targets import Tally, checked
from blockdot.objective.links import Identity
from blockdot.objective.losses import Loss
from blockdot.objective.network import Network
from blockdot.objective.passes import Value
from blockdot.solvers import Result, Status
from blockdot.solvers.updates import At
from blockdot.vectors import Vector

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Knowledge:
    """What has been learnt so far: of each feature in ``ids`` (ascending), in the same order, and of the tail.

    ``vectors`` are w and the slots, flat over the ids; none before anything was learnt. ``steps`` and ``calls`` count,
    ``found`` tallies the targets of all rows.
    """

    problem: _Problem
    ids: NDArray[np.int64]
    vectors: tuple[Vector, ...] = ()
    steps: int = 0
    calls: int = 0
    found: Tally | None = None

    @classmethod
    def none(cls, problem: _Problem) -> Knowledge:
        """Nothing."""
        return cls(problem, np.empty(0, np.int64))

    @classmethod
    def of(cls, knowledge: Knowledge | None, recipe: Recipe, found: Tally) -> Knowledge:
        """What is known, with the recipe as it is now; nothing before the first rows, which ``found`` tallies."""
        if knowledge is None:
            return cls.none(_Problem.of(recipe, found, None))
        return replace(knowledge, problem=replace(knowledge.problem, recipe=recipe))

    def concluded(
        self, data: Dataset, learner: Learner, size: int, learnt: Learnt, labels: tuple[float, ...] | None
    ) -> tuple[Model, Result[Any]]:
        """The model of all that is known, and how learning from ``data`` ended, in batches of ``size`` rows."""
        assert self.found is not None
        nothing = np.zeros(len(self.ids))
        all_seen = replace(data, table=FeatureTable(self.ids, nothing.astype(np.int64), nothing, nothing))
        w, *slots = self.vectors
        p = self.problem.penalty(all_seen).over(self.problem.layout, len(self.ids))
        result = result_of(size, learnt, 0.0, learner.rule.result(tuple(slots), At(w, self.steps, p)))
        case = Settled(all_seen, self.problem.recipe, labels, self.found, None)
        return case.model(result.w, self.problem.outputs, _record(case, result)), result

    def vector(self, s: int, table: FeatureTable, out: Vector) -> Vector:
        """What vector s says of the features of ``table``, into ``out``, which says it of those that are not known."""
        layout = self.problem.layout
        (rows, tail), (to, to_tail) = layout.split(self.vectors[s]), layout.split(out)
        places, known = _found(self.ids, table.ids)
        to[known] = rows[places[known]]
        to_tail[:] = tail
        return out

    def point(self, table: FeatureTable, lessons: Course) -> Point:
        """Where ``lessons`` go on, of the features of ``table``."""
        fresh = lessons.start(self.problem.start(len(table)))
        if not self.vectors:
            return fresh
        w, *slots = (self.vector(s, table, vector) for s, vector in enumerate((fresh.w, *fresh.slots)))
        return Point(w, tuple(slots), self.steps)

    def and_more(self, point: Point, table: FeatureTable, found: Tally | None) -> Knowledge:
        """With what has been learnt of the features of ``table``."""
        layout = self.problem.layout
        _, known = _found(self.ids, table.ids)
        ids = np.sort(np.concatenate([self.ids, table.ids[~known]]))
        before, now = np.searchsorted(ids, self.ids), np.searchsorted(ids, table.ids)
        vectors = []
        for s, vector in enumerate((point.w, *point.slots)):
            rows, tail = layout.split(vector)
            both = np.zeros((len(ids), layout.width))
            if self.vectors:
                both[before] = layout.split(self.vectors[s])[0]
            both[now] = rows
            vectors.append(np.concatenate([both.ravel(), tail]))
        total = found if self.found is None or found is None else self.found + found
        return replace(self, ids=ids, vectors=tuple(vectors), steps=point.t, calls=self.calls + 1, found=total)


def _found(ids: NDArray[np.int64], wanted: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where each of ``wanted`` is among the ascending ``ids``, and whether it is."""
    if not len(ids):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), np.bool_)
    places = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    return places, ids[places] == wanted


def fit_online(
    data: Dataset,
    recipe: Recipe,
    pool: Pool,
    *,
    start: Model | None = None,
    validation: Dataset | None = None,
    journal: Journal | None = None,
    callbacks: Sequence[Callback] = (),
) -> tuple[Model, Result[Any], Knowledge]:
    """Learn a linear model as ``recipe.online`` says; with the model, what is known when more rows come.

    ``validation``: rows to stop by, in the place of rows of ``data`` that are held out. The ``value`` of the model's
    record is the progressive loss of the last epoch.
    """
    journal, began = journal or Journal(), time.perf_counter()
    kept = start and (start.ids, start.coef, start.tail)
    journal.begin(data, recipe=recipe, start=kept, validation=validation and digest_of(validation))
    recipe = replace(recipe, online=recipe.learning(data.n_rows))
    how = recipe.online
    with (
        settled(data, recipe, pool) as (blocks, case),
        held_out(blocks, how.held_out, recipe.random_state) as (training, testing, weight),
    ):
        problem = _Problem.of(case.recipe, case.found, case.constant)
        lessons = problem.course(training, data, weight=case.found.weight if weight is None else weight)
        w0 = problem.drawn(data) if start is None else start_from(start, data, problem.recipe, problem.outputs)
        learnt = learn(
            lessons,
            lessons.start(w0),
            epochs=how.epochs_of(data.n_rows),
            judge=problem.judge(case, testing, validation, pool),
            patience=how.patience,
            tol=how.tol,
            journal=journal,
            callbacks=callbacks,
        )
    w = lessons.result(learnt.point) if learnt.best is None else learnt.best
    result = result_of(lessons.dealing.size, learnt, time.perf_counter() - began, w)
    logger.info("%s: %s", how.name, result.message)
    model = case.model(result.w, problem.outputs, _record(case, result))
    return model, result, Knowledge.none(problem).and_more(learnt.point, data.table, case.found)


def learn_more(
    data: Dataset, recipe: Recipe, pool: Pool, knowledge: Knowledge | None, labels: tuple[float, ...] | None
) -> tuple[Model, Result[Any], Knowledge]:
    """Go through ``data`` once, from what is known; ``labels`` are those of all rows to come, None for numbers."""
    data = replace(data, labels=labels)
    recipe, labels = for_more(recipe, data)
    loss = make_loss(recipe.loss, recipe.options)
    with encoded(data, recipe, labels, pool).on(pool) as blocks:
        found = checked(data, blocks, loss, len(labels or ()))
        known = Knowledge.of(knowledge, recipe, found)
        problem = known.problem
        lessons = problem.course(blocks, data, before=known.steps)
        point = known.point(data.table, lessons)
        learnt = learn(lessons, point, epochs=known.calls + 1, begin=known.calls)
    known = known.and_more(learnt.point, data.table, found)
    model, result = known.concluded(data, lessons.learner, lessons.dealing.size, learnt, labels)
    return model, result, known


def for_more(recipe: Recipe, data: Dataset) -> tuple[Recipe, tuple[float, ...] | None]:
    """The recipe for rows that come later, of which ``data`` has the labels that all may have; and the labels."""
    if recipe.network is not None:
        raise SpecError("a network has weights to begin with for the features of a fit alone: fit it to all rows")
    return by_classes(replace(recipe, online=replace(recipe.online, epochs=1, held_out=None)), data)


@dataclass(frozen=True, eq=False)
class _Problem:
    """What is learnt: the recipe by the classes, and the units of y.

    A loss in the units of y (squares, quantiles) is learnt at a rate in these units: by the deviation of y, as it was
    when learning began. Numbers are learnt from their mean on, classes from 0.
    """

    recipe: Recipe
    origin: tuple[float, ...]
    """The intercepts to begin with."""
    unit: float
    """The deviation of y, for a loss in its units; else 1."""

    @classmethod
    def of(cls, recipe: Recipe, found: Tally, constant: tuple[float, ...] | None) -> _Problem:
        kind, loss = kind_of(recipe.loss), make_loss(recipe.loss, recipe.options)
        if kind.targets != "numbers":
            return cls(recipe, (0.0,) * (getattr(loss, "outputs", None) or 1), 1.0)
        link = getattr(loss, "link", None)
        is_in_units = link is None or isinstance(link, Identity)
        unit = found.deviation if is_in_units and found.deviation > 0.0 else 1.0
        at_mean = getattr(loss, "start_z", None)
        origin = constant or (at_mean(found.mean) if callable(at_mean) else found.mean,)
        return cls(recipe, origin, unit)

    @property
    def is_curved(self) -> bool:
        """Whether the gradient of the loss is in the units of y, too."""
        return self.recipe.loss in _CURVED

    @property
    def loss(self) -> Loss:
        """The loss."""
        return make_loss(self.recipe.loss, self.recipe.options)

    @property
    def outputs(self) -> int | None:
        """K; None for one output."""
        found: int | None = getattr(self.loss, "outputs", None)
        return found

    @property
    def predictor(self) -> AnyPredictor:
        """From parameters and features to z."""
        return self.recipe.predictor(self.outputs)

    @property
    def layout(self) -> Layout:
        """Its layout."""
        return self.predictor.layout

    def start(self, n_features: int) -> Vector:
        """The parameters of a linear model to begin with: 0, and the intercepts."""
        w = np.zeros(self.layout.size(n_features))
        if self.recipe.fit_intercept:
            w[len(w) - len(self.origin) :] = self.origin
        return w

    def drawn(self, data: Dataset) -> Vector:
        """The parameters to begin with; random weights of a network."""
        w, predictor = self.start(len(data.table)), self.predictor
        if isinstance(predictor, Network):
            w += initial_weights(predictor, data, self.recipe.random_state)
        return w

    def course(self, blocks: Blocks, data: Dataset, *, weight: float | None = None, before: int = 0) -> Course:
        """The course over ``blocks``, which are those of ``data``."""
        recipe = self.recipe
        return course(
            recipe.online.in_units(self.unit, curved=self.is_curved),
            self.loss,
            self.predictor,
            blocks,
            data.block_rows,
            data.table,
            seed=recipe.random_state,
            weight=weight,
            penalty=self.penalty(data),
            before=before,
        )

    def penalty(self, data: Dataset) -> Penalized:
        """The penalty over the features of ``data``."""
        recipe = self.recipe
        weights = None if recipe.penalty_weights is None else recipe.weights_of(data)
        return Penalized(recipe.alpha, recipe.l1_ratio, weights)

    def judge(
        self, case: Settled, testing: Blocks | None, validation: Dataset | None, pool: Pool
    ) -> Callable[[Vector], float] | None:
        """What gives the mean loss of the rows to stop by; None where there are none."""
        value = Value(self.loss, self.predictor)

        def mean(blocks: Blocks, w: Vector) -> float:
            total = blocks.sum(value, w)
            return total.value / total.weight

        if validation is None:
            return None if testing is None else partial(mean, testing)
        if validation.n_features != case.data.n_features:
            raise DataError(
                f"the rows to stop by have {validation.n_features} features, the others {case.data.n_features}; "
                "needed the same features"
            )
        rows = validation if case.labels is None or validation.n_labels else validation.encoded(case.labels)

        def mean_of(w: Vector) -> float:
            known = Knowledge.none(self).and_more(Point(w, (), 0), case.data.table, None)
            with rows.on(pool) as blocks:
                return mean(
                    blocks, known.vector(0, validation.table, np.zeros(self.layout.size(len(validation.table))))
                )

        return mean_of


# Losses whose gradient is in the units of y, too.
_CURVED = frozenset({"squared", "gaussian", "huber", "squared-epsilon-insensitive"})


def start_from(model: Model, data: Dataset, recipe: Recipe, outputs: int | None) -> Vector:
    """Another model's parameters over the features of ``data``; an intercept that it lacks is 0."""
    if model.info.network != recipe.network or model.outputs != outputs:
        raise SpecError(
            f"the model to start from has {model.outputs or 1} outputs, this one {outputs or 1}, or other layers than "
            "it: start from a model of the same classes and layers, or from none"
        )
    layout = recipe.predictor(outputs).layout
    w = np.zeros(layout.size(len(data.table)))
    rows = layout.size(len(data.table)) - layout.tail
    w[:rows] = model.parameters(data)[:rows]
    if len(model.tail) == layout.tail:
        w[rows:] = model.tail
    return w


_ENDS = {
    "max_iter": (Status.MAX_ITER, "learnt"),
    "converged": (Status.CONVERGED, "the rows held out got no better: learnt"),
    "stopped": (Status.STOPPED, "a callback asked to stop: learnt"),
    "diverged": (Status.DIVERGED, "diverged, the rate is too high, or the features need scaling: learnt"),
}


def result_of(size: int, learnt: Learnt, seconds: float, w: Vector) -> Result[Any]:
    """How learning ended, and the parameters ``w`` to predict with."""
    status, how = _ENDS[learnt.ended]
    last, epochs = learnt.history[-1], len(learnt.history)
    passes = "one pass" if epochs == 1 else f"{epochs} passes"
    message = f"{how} {passes} in {learnt.point.t:,} steps of {size} rows (progressive loss {last.loss:.6g}"
    message += ")" if last.held_out is None else f", of the rows held out {last.held_out:.6g})"
    return Result(w, last.loss, math.nan, math.nan, epochs, epochs, seconds, status, message, (), learnt)


def _record(case: Settled, result: Result[Any]) -> Fit:
    recipe = case.recipe
    return Fit(
        alpha=recipe.alpha,
        l1_ratio=recipe.l1_ratio,
        restricted=recipe.restrictions,
        solver=recipe.online.name,
        status=str(result.status),
        message=result.message,
        iterations=result.iterations,
        value=result.value if math.isfinite(result.value) else 0.0,
        rows=case.data.n_rows,
        store=case.data.digest,
    )
