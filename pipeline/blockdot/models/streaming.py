"""Learning from raw files while they are read: nothing is stored, and no row is looked at twice.

    file → rows (other threads)  →  batches, features found in a registry (another)  →  steps (this one)

A feature has a place in the table of parameters from when it first occurs. The rows of a block are learnt from in a
random order, the blocks in the order of the files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from blockdot.blocks.batches import Cut, Dealing, Table
from blockdot.blocks.block import Block
from blockdot.blocks.dataset import Dataset, MemorySource
from blockdot.blocks.registry import Registry
from blockdot.blocks.table import FeatureTable
from blockdot.blocks.threads import ThreadPool, ahead
from blockdot.errors import SpecError
from blockdot.ingest.stream import Stream
from blockdot.models.fit import encoded
from blockdot.models.kinds import make_loss
from blockdot.models.knowledge import Knowledge, for_more
from blockdot.models.learning import Epoch, Learnt, Penalized
from blockdot.models.model import Model
from blockdot.models.recipe import Recipe
from blockdot.models.stochastic import Learner, Point
from blockdot.models.targets import Tally, checked
from blockdot.solvers import Result
from blockdot.solvers.updates import At
from blockdot.vectors import Vector

# Rows a step. More than in a fit to a store: what a step costs beside its rows is what learning costs beside reading.
_BATCH = 256


def learn_from(
    stream: Stream, recipe: Recipe, knowledge: Knowledge | None, labels: tuple[float, ...] | None
) -> tuple[Model, Result[Any], Knowledge]:
    """Go through the rows of ``stream`` once, from what is known; ``labels`` are those that rows may have."""
    if recipe.alpha and recipe.online.optimizer != "ftrl":
        raise SpecError(
            "a penalty needs to know how often features occur, which a stream does not: ingest the files first, choose "
            "optimizer = 'ftrl', which does without, or alpha = 0"
        )
    if recipe.online.mode != "sequential" or recipe.penalty_weights is not None:
        raise SpecError("a stream is learnt from in sequence, without penalty_weights: ingest the files first")
    data = _described(stream, labels)
    recipe, labels = for_more(recipe, data)
    reading = _Reading(data, recipe, labels)
    blocks = (reading.seen(block) for block in stream)
    first = next(blocks, None)
    if first is None or reading.found is None:
        raise SpecError(f"{stream.name}: there are no rows to learn from")
    known = Knowledge.of(knowledge, recipe, reading.found)
    lessons = _Lessons.of(known, recipe)

    def cuts() -> Iterator[Cut]:
        dealing = Dealing(lessons.size, recipe.random_state, recipe.online.shuffle)
        for index, block in enumerate(_with(first, blocks)):
            yield from dealing.cuts(block, known.calls, index, lessons.registry.places)

    with np.errstate(over="ignore", invalid="ignore"):
        steps, score = lessons.learner.learn(lessons.table, lessons.with_room(ahead(cuts())), known.steps)
    known = replace(
        known,
        ids=np.sort(lessons.registry.ids),
        vectors=lessons.vectors(),
        steps=known.steps + steps,
        calls=known.calls + 1,
        found=reading.found if known.found is None else known.found + reading.found,
    )
    ended = "max_iter" if math.isfinite(score.value) and np.all(np.isfinite(known.vectors[0])) else "diverged"
    point = Point(known.vectors[0], known.vectors[1:], known.steps)
    learnt = Learnt(point, known.calls, history=(Epoch(score.mean),), ended=ended)
    width = stream.n_features or int(known.ids[-1]) + 1 if len(known.ids) else 1
    data = replace(data, n_rows=reading.rows, n_features=width)
    model, result = known.concluded(data, lessons.learner, lessons.size, learnt, labels)
    return model, result, known


def _described(stream: Stream, labels: tuple[float, ...] | None) -> Dataset:
    """A data set with what is known of the rows before one is read, and without rows."""
    none = np.empty(0)
    table = FeatureTable(none.astype(np.int64), none.astype(np.int64), none, none)
    return Dataset(
        MemorySource((), 0), table, 0, 0, stream.n_features or 0, labels, has_y=True, weight=0.0, block_rows=(),
        classes=stream.classes, features=stream.features, files=stream.files,
    )  # fmt: skip


def _with(first: Block, others: Iterator[Block]) -> Iterator[Block]:
    yield first
    yield from others


@dataclass
class _Reading:
    """The blocks of a stream with y as the loss has it, and the tally of those that have been seen."""

    data: Dataset
    recipe: Recipe
    labels: tuple[float, ...] | None
    found: Tally | None = None
    rows: int = 0

    def __post_init__(self) -> None:
        self._pool = ThreadPool(1)

    def seen(self, block: Block) -> Block:
        """The block, encoded; DataError for a target that the loss cannot take."""
        one = replace(self.data, source=MemorySource((block,), 0))
        with encoded(one, self.recipe, self.labels, self._pool).on(self._pool) as blocks:
            more = checked(self.data, blocks, make_loss(self.recipe.loss, self.recipe.options), len(self.labels or ()))
            self.found = more if self.found is None else self.found + more
            self.rows += block.n_rows
            return blocks.source.block(0)


@dataclass(frozen=True, eq=False)
class _Lessons:
    """A learner, its table, and which place of the table each feature has."""

    learner: Learner
    size: int
    registry: Registry
    table: Table

    @classmethod
    def of(cls, known: Knowledge, recipe: Recipe) -> _Lessons:
        problem = known.problem
        size = recipe.online.batch_size or _BATCH
        how = recipe.online.in_units(problem.unit, curved=problem.is_curved)
        rule = how.rule(recipe.alpha, recipe.l1_ratio, size, 1)
        learner = Learner(problem.loss, problem.predictor, rule, float(size), is_penalized=recipe.alpha > 0.0)
        p = Penalized(recipe.alpha, recipe.l1_ratio).over(problem.layout, len(known.ids))
        w = problem.start(0)
        vectors = known.vectors or (w, *rule.init(At(w, 1, p)))
        constants = (p, np.ones_like(p)) if learner.is_penalized else ()
        return cls(learner, size, Registry(known.ids), learner.table([*vectors, *constants]))

    def with_room(self, cuts: Iterator[Cut]) -> Iterator[Cut]:
        """The cuts, before each of which there is room in the table for its features."""
        fill = [0.0] * self.learner.learnt + [1.0] * (2 * self.learner.is_penalized)
        for cut in cuts:
            self.table.grow(len(self.registry), fill)
            yield cut

    def vectors(self) -> tuple[Vector, ...]:
        """What the table holds, by ascending ids."""
        order = np.argsort(self.registry.ids)
        table = Table(self.table.rows[order], self.table.tail)
        return tuple(table.vector(s) for s in range(self.learner.learnt))
