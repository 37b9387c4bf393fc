"""One step of stochastic descent, and the three ways in which steps are made over row blocks.

    g = (1/(B s̄)) Σ over the batch of s ∂ℓ/∂w,      u, slots = rule(g, slots, w),      w ← w + u

B is the size of a batch and s̄ the mean weight of the rows of the data, so that rows weigh the same in any batch, also
in one that is smaller than B. A step takes the parameters of the batch's columns out of a table, and puts them back.
The loss of each row is taken before it is learnt from (the progressive loss: Blum, Kalai & Langford, COLT 1999).

    sequential     batch after batch, in this process
    synchronous    each batch is made of a slice of every block, summed by the fixed tree: one step on a pool
    averaged       every block learns by itself from w, and what they learnt is averaged by their weight: local steps
                   (McDonald, Hall & Mann, NAACL 2010; Stich, ICLR 2019)

A step of the second is the gradient of the whole batch, at a round trip a step. The third has one round trip an epoch,
and a block sees nothing of what the others learn until then. Of T steps each of M blocks may make about √(T/M) between
two averages and lose nothing to first order (Stich, corollary 2.3, for strongly convex losses); an epoch is more than
that, so more epochs are needed, or fewer, larger blocks. All have the same bits for any number of workers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from blockdot.blocks.batches import Batch, Cut, Dealing, Table, cut
from blockdot.blocks.block import Block
from blockdot.blocks.layout import FeatureSum, Layout
from blockdot.blocks.sums import Blocks
from blockdot.blocks.threads import ahead
from blockdot.objective.losses import Loss
from blockdot.objective.predictors import Predictor
from blockdot.solvers.updates import At, Update
from blockdot.vectors import Vector

# Rows between two looks at the state; of more features more, so that copying the parameters stays a small part.
_ROWS_A_LEG = 1 << 17
_TINY = float(np.finfo(np.float64).tiny)

Mode = Literal["sequential", "synchronous", "averaged"]
MODES: tuple[str, ...] = get_args(Mode)


class Point(NamedTuple):
    """Where learning stands: the parameters, the slots of the rule, the number of steps made."""

    w: Vector
    slots: tuple[Vector, ...]
    t: int


class Score(NamedTuple):
    """Σ s ℓ of rows before they were learnt from, and Σ s."""

    value: float = 0.0
    weight: float = 0.0

    def plus(self, other: Score) -> Score:
        """Of both rows."""
        return Score(self.value + other.value, self.weight + other.weight)

    @property
    def mean(self) -> float:
        """The mean loss; NaN for rows without weight."""
        return self.value / self.weight if self.weight > 0.0 else math.nan


@dataclass(frozen=True)
class Learner:
    """What is learnt, and by which rule: a few bytes that travel.

    ``unit`` is B s̄. With ``is_penalized`` tables hold p and q of updates.py beside the slots, for a penalty.
    """

    loss: Loss
    predictor: Predictor
    rule: Update
    unit: float
    is_penalized: bool = False

    @property
    def layout(self) -> Layout:
        return self.predictor.layout

    @property
    def learnt(self) -> int:
        """How many vectors a step changes: w and the slots."""
        return 1 + self.rule.slots

    def table(self, vectors: Sequence[Vector]) -> Table:
        """A copy of w, the slots, and p and q, side by side."""
        return Table.of(vectors, self.layout.width, self.layout.tail)

    def gradient(self, batch: Batch, w: Vector) -> tuple[float, Vector]:
        """Σ s ℓ, and the gradient of Σ s ℓ/(B s̄), at the batch's own parameters."""
        assert batch.y is not None
        at = self.predictor.thinned(batch.noise).linearize(w, batch.X)
        z, g = at.z, np.zeros_like(w)
        if batch.offset is not None:
            z = z + (batch.offset if z.ndim == 1 else batch.offset[:, np.newaxis])
        s = 1.0 if batch.sample_weight is None else batch.sample_weight
        value, u = self.loss.value_and_grad(batch.y, z, s)
        at.vjp(u, g)
        g *= 1.0 / self.unit
        return value, g

    def step(self, table: Table, places: NDArray[np.int64], own: NDArray[np.float64], g: Vector, t: int) -> None:
        """Step number ``t``, by the gradient ``g`` of the parameters ``own``, which were taken from ``places``."""
        stop = self.learnt
        at = At(own[0], t, own[stop], own[stop + 1]) if self.is_penalized else At(own[0], t)
        u, slots = self.rule.update(g, tuple(own[1:stop]), at)
        own[0] += u
        for s, slot in enumerate(slots, 1):
            own[s] = slot
        table.put(places, own, stop)

    def learn(self, table: Table, cuts: Iterator[Cut], t: int) -> tuple[int, Score]:
        """A step for each batch, the first of them number t + 1; how many, and the progressive loss."""
        value, weight, steps = 0.0, 0.0, 0
        for batch in (batch for batches in cuts for batch in batches):
            steps += 1
            own = table.take(batch.places)
            loss, g = self.gradient(batch, own[0])
            self.step(table, batch.places, own, g, t + steps)
            value += loss
            weight += batch.weight
        return steps, Score(value, weight)


class Leg(NamedTuple):
    """A part of an epoch: where it ended, where the next one begins (0: a new epoch), and its progressive loss."""

    point: Point
    cursor: int
    score: Score


@dataclass(frozen=True, eq=False)
class Course:
    """A learner, and the rows that it goes through.

    ``constants``: p and q over the parameters, for a learner that is penalised.
    """

    learner: Learner
    dealing: Dealing
    blocks: Blocks
    block_rows: tuple[int, ...]
    mode: Mode = "sequential"
    constants: tuple[Vector, ...] = ()

    def start(self, w: Vector) -> Point:
        """The point before the first step."""
        p = self.constants[0] if self.constants else 1.0
        return Point(w, self.learner.rule.init(At(w, 1, p)), 0)

    def result(self, point: Point) -> Vector:
        """The parameters to predict with."""
        return self.learner.rule.result(point.slots, At(point.w, point.t, *self.constants))

    def leg(self, point: Point, epoch: int, cursor: int) -> Leg:
        """From ``point`` on; ``cursor`` is what the leg before gave, 0 at the beginning of an epoch."""
        with np.errstate(over="ignore", invalid="ignore"):  # what diverges is named when it has
            return {"sequential": self._sequential, "synchronous": self._synchronous, "averaged": self._averaged}[
                self.mode
            ](point, epoch, cursor)

    @property
    def _enough(self) -> int:
        """Rows that a leg has, at least."""
        return max(_ROWS_A_LEG, self.blocks.n_features)

    def _table(self, point: Point) -> Table:
        return self.learner.table([point.w, *point.slots, *self.constants])

    def _point(self, table: Table, t: int) -> Point:
        w, *slots = (table.vector(s) for s in range(self.learner.learnt))
        return Point(w, tuple(slots), t)

    def _sequential(self, point: Point, epoch: int, cursor: int) -> Leg:
        """The blocks from ``cursor`` on, in the order of the epoch, as many as make a leg."""
        source = self.blocks.source
        order = self.dealing.blocks(source.n_blocks, epoch).tolist()
        stop, rows = cursor, 0
        while stop < len(order) and rows < self._enough:
            rows += self.block_rows[order[stop]]
            stop += 1

        def cuts() -> Iterator[Cut]:
            source.expect(order[cursor:stop])
            for index in order[cursor:stop]:
                yield from self.dealing.cuts(source.block(index), epoch, index)
                source.release(index)

        table = self._table(point)
        steps, score = self.learner.learn(table, ahead(cuts()), point.t)
        return Leg(self._point(table, point.t + steps), stop % len(order), score)

    def _synchronous(self, point: Point, epoch: int, cursor: int) -> Leg:
        """The steps from ``cursor`` on, as many as make a leg."""
        steps = -(-sum(self.block_rows) // self.dealing.size)
        stop = min(steps, cursor + max(self._enough // self.dealing.size, 1))
        table, score, t = self._table(point), Score(0.0, 0.0), point.t
        first = _Places(self.learner.layout, self.dealing, epoch, steps, cursor)
        places = list(self.blocks.map(first, each=range(self.blocks.n_blocks)))
        for number in range(cursor, stop):
            t += 1
            task = _SliceGradient(self.learner.layout, self.dealing, epoch, steps, number, self.learner)
            found = self.blocks.sum(task, each=[(i, table.take(own)[0]) for i, own in enumerate(places)])
            touched = np.unique(np.concatenate(places))
            total = found.vector.settled()
            rows = total.rows if total.positions is not None else total.rows[touched]
            g = np.concatenate([rows.ravel(), total.tail])
            self.learner.step(table, touched, table.take(touched), g, t)
            score, places = score.plus(found.score), list(found.following)
        return Leg(self._point(table, t), stop % steps, score)

    def _averaged(self, point: Point, epoch: int, cursor: int) -> Leg:  # noqa: ARG002
        """An epoch of every block by itself, from the same point."""
        task = _LocalSteps(self.learner, self.dealing, epoch, point.t)
        vectors = [point.w, *point.slots, *self.constants]
        found = self.blocks.sum(task, *vectors, each=range(self.blocks.n_blocks))
        table, total = self._table(point), found.vector
        learnt, features = self.learner.learnt, slice(None) if total.positions is None else total.positions
        weight = np.where(total.rows[:, -1] > 0.0, total.rows[:, -1], 1.0)
        change = (total.rows[:, :-1] / weight[:, np.newaxis]).reshape(len(weight), learnt, -1)
        table.rows[features, :learnt] += change
        table.tail[:learnt] += (total.tail[:-1] / max(total.tail[-1], _TINY)).reshape(learnt, -1)
        return Leg(self._point(table, point.t + found.steps), 0, found.score)


@dataclass(frozen=True, eq=False)
class _SliceSum:
    """Sums over the slices of some blocks; ``following``: the places of each block's next slice."""

    score: Score
    vector: FeatureSum
    following: tuple[NDArray[np.int64], ...]

    def __add__(self, other: _SliceSum) -> _SliceSum:
        return _SliceSum(self.score.plus(other.score), self.vector + other.vector, self.following + other.following)


@dataclass(frozen=True)
class _Slices:
    """Slice ``number`` of ``steps`` of each block: rows ⌊number n/steps⌋ … of its order."""

    layout: Layout
    dealing: Dealing
    epoch: int
    steps: int
    number: int

    def batch(self, block: Block, index: int, number: int) -> Batch:
        """A slice of a block, which may have no rows."""
        start, stop = (min(i, self.steps) * block.n_rows // self.steps for i in (number, number + 1))
        rows = self.dealing.rows(block.n_rows, self.epoch, index, start, stop)
        noise = self.dealing.noise(self.epoch, index, start)
        return next(iter(cut(block, rows, max(stop - start, 1), noise)))


class _Places(_Slices):
    """Where the columns of the slice lie."""

    def __call__(self, block: Block, index: int) -> NDArray[np.int64]:
        return self.batch(block, index, self.number).places


@dataclass(frozen=True)
class _SliceGradient(_Slices):
    """The slice's part of the gradient, at the parameters of its own columns."""

    learner: Learner

    def __call__(self, block: Block, each: tuple[int, Vector]) -> _SliceSum:
        index, w = each
        batch = self.batch(block, index, self.number)
        value, g = self.learner.gradient(batch, w)
        own = Block(batch.X, batch.places, batch.places, n_features=block.n_features)
        following = self.batch(block, index, self.number + 1).places
        return _SliceSum(Score(value, batch.weight), FeatureSum.of(own, g, self.layout), (following,))


@dataclass(frozen=True, eq=False)
class _LocalSum:
    """Σ weight × what blocks learnt, the weight itself in the last column; the most steps that one of them made."""

    score: Score
    steps: int
    vector: FeatureSum

    def __add__(self, other: _LocalSum) -> _LocalSum:
        return _LocalSum(self.score.plus(other.score), max(self.steps, other.steps), self.vector + other.vector)


@dataclass(frozen=True)
class _LocalSteps:
    """A block learns by itself: an epoch over its rows."""

    learner: Learner
    dealing: Dealing
    epoch: int
    t: int

    @property
    def layout(self) -> Layout:
        return self.learner.layout

    def __call__(self, block: Block, *vectors: Any) -> _LocalSum:
        *own, index = vectors
        before, after = self.learner.table(own), self.learner.table(own)
        local = replace(block, positions=np.arange(block.X.n_columns), n_features=block.X.n_columns)
        steps, score = self.learner.learn(after, self.dealing.cuts(local, self.epoch, index), self.t)
        learnt = self.learner.learnt
        change = (after.rows - before.rows)[:, :learnt].reshape(len(after.rows), -1)
        rows = score.weight * np.concatenate([change, np.ones((len(change), 1))], axis=1)
        tail = score.weight * np.append((after.tail - before.tail)[:learnt].ravel(), 1.0)
        wide = Layout(width=rows.shape[1], tail=len(tail))
        return _LocalSum(score, steps, FeatureSum.of(block, np.concatenate([rows.ravel(), tail]), wide))
