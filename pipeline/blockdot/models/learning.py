"""Learning by epochs: how a course is set up, gone through, watched and stopped.

    epoch = every row once, in an order of its own;     its loss: progressive, that of each row before it is learnt from

Learning ends after ``epochs`` epochs, or, where there are rows to judge by, when their mean loss has not fallen by
``tol`` for ``patience`` epochs; the result is then what was best for them. It is one part of a journal: between two
legs of an epoch its state is kept, and learning that was interrupted goes on to the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, NamedTuple

import numpy as np

from blockdot.blocks.batches import Dealing
from blockdot.blocks.layout import Layout
from blockdot.blocks.sums import Blocks
from blockdot.blocks.table import FeatureTable
from blockdot.errors import SpecError
from blockdot.models.journal import Callback, Journal
from blockdot.models.stochastic import MODES, Course, Learner, Mode, Point, Score
from blockdot.objective.losses import Loss
from blockdot.objective.predictors import Predictor
from blockdot.solvers.schedules import Constant, Cosine, InverseScaling, Schedule, Warmup
from blockdot.solvers.updates import FTRL, Average, Clip, ClipNorm, Update, adagrad, adam, adamw, chain, sgd
from blockdot.vectors import Vector

# The rates that serve without tuning, for features of about the size 1.
RATES = {"ftrl": 0.1, "adagrad": 0.07, "sgd": 0.1, "adam": 0.005, "adamw": 0.005}
SCHEDULES = ("constant", "inverse-scaling", "cosine")

# Batches: as many as learning needs of few rows, and no more Python than the products of many rows hide.
_LEAST_BATCH, _LARGEST_BATCH, _BATCHES = 8, 128, 2000
# Few rows are gone through again, until so many have been seen.
_ROWS_SEEN = 10_000


@dataclass(frozen=True)
class Online:
    """How to learn batch by batch.

    Attributes
    ----------
    optimizer
        "ftrl", "adagrad", "sgd", "adam" or "adamw" (solvers/updates.py).
    rate
        η; None for the optimizer's own: see ``RATES``.
    schedule, power, warmup
        "constant", "inverse-scaling" (η/tᵖ) or "cosine" (to 0 at the end); steps of a linear rise at the beginning.
    momentum, nesterov
        Of "sgd".
    beta
        β of "ftrl", for the gradients of single rows.
    clip, clip_norm
        Limits of each number of a batch's gradient, and of its norm; None for none.
    batch_size
        Rows a batch; None for n/2000, at least 8 and at most 128; of a stream 256.
    epochs
        None for as many as 10,000 rows take: one for as many rows or more.
    shuffle
        Whether rows are learnt from in a random order, another one each epoch, or as they come.
    average
        Whether the result is the mean over all steps; a number: over all that follow so many steps.
    mode
        "sequential", "synchronous" or "averaged" (stochastic.py).
    dropout
        The share of a network's hidden units that are left out of each row, in learning: :meth:`Network.thinned`.
    held_out
        The share of the rows that are held out to stop by; None for none.
    patience, tol
        Stop when the loss of the rows held out has not fallen by ``tol`` for so many epochs.
    """

    optimizer: str = "ftrl"
    rate: float | None = None
    schedule: str = "constant"
    power: float = 0.5
    warmup: int = 0
    momentum: float = 0.0
    nesterov: bool = False
    beta: float = 1.0
    clip: float | None = None
    clip_norm: float | None = None
    batch_size: int | None = None
    epochs: int | None = None
    shuffle: bool = True
    average: bool | int = False
    mode: str = "sequential"
    dropout: float = 0.0
    held_out: float | None = None
    patience: int = 5
    tol: float = 1e-4

    def __post_init__(self) -> None:
        for name, value, known in (
            ("optimizer", self.optimizer, tuple(RATES)),
            ("schedule", self.schedule, SCHEDULES),
            ("mode", self.mode, MODES),
        ):
            if value not in known:
                raise SpecError(f"{name} is {value!r}; needed one of {', '.join(known)}")
        for name, number in (("batch_size", self.batch_size), ("epochs", self.epochs), ("patience", self.patience)):
            if number is not None and not (isinstance(number, (int, np.integer)) and number >= 1):
                raise SpecError(f"{name} is {number!r}; needed a whole number of at least 1")
        if not 0.0 <= self.dropout < 1.0:
            raise SpecError(f"dropout is {self.dropout!r}; needed a share of at least 0 and below 1")
        if self.held_out is not None and not 0.0 < self.held_out < 1.0:
            raise SpecError(f"the share of rows held out is {self.held_out!r}; needed a number between 0 and 1")
        if (self.momentum or self.nesterov) and self.optimizer != "sgd":
            raise SpecError(
                f"momentum and nesterov go with optimizer = 'sgd', not with {self.optimizer!r}: remove them"
            )
        if self.optimizer == "ftrl" and (self.schedule != "constant" or self.warmup):
            raise SpecError(
                "a schedule and warmup go with the other optimizers: the rates of 'ftrl' fall by themselves"
            )
        if not 0.0 <= self.tol < math.inf:
            raise SpecError(f"tol is {self.tol!r}; needed a finite number of at least 0")
        self.rule(0.0, 0.0, 1, 1)  # checks the rest

    def in_units(self, unit: float, *, curved: bool) -> Online:
        """The same for targets in other units: rates, and β where gradients are in these units, too."""
        if unit == 1.0 or self.optimizer == "sgd":
            return self
        return replace(self, rate=self._rate * unit, beta=self.beta * unit if curved else self.beta)

    @property
    def name(self) -> str:
        """For the record of a fit."""
        return f"online {self.optimizer}"

    needs: ClassVar[frozenset[str]] = frozenset()

    @property
    def vectors(self) -> int:
        """Vectors of the size of w that are held at most: w, the slots, p and q, twice while they are put together."""
        return 2 * (1 + self.rule(0.0, 0.0, 1, 1).slots + 2) + 1

    def size(self, n_rows: int) -> int:
        """Rows a batch, of so many in all."""
        size = self.batch_size or min(max(n_rows // _BATCHES, _LEAST_BATCH), _LARGEST_BATCH)
        return max(min(size, n_rows), 1)

    def epochs_of(self, n_rows: int) -> int:
        """How many epochs, of so many rows each."""
        return self.epochs or max(-(-_ROWS_SEEN // max(n_rows, 1)), 1)

    def rule(self, alpha: float, l1_ratio: float, size: int, steps: int) -> Update:
        """The rule for batches of ``size`` rows, and so many steps in all, with the penalty α [ρ ‖w‖₁ + (1−ρ)/2 ‖w‖²].

        β of FTRL is that of sums over rows, and gradients are means over a batch.
        """
        if self.optimizer != "ftrl" and alpha * l1_ratio:
            raise SpecError(
                f"an L1 penalty goes with optimizer = 'ftrl', which makes exact zeros, not with {self.optimizer!r}: "
                "choose it, or l1_ratio = 0"
            )
        clips: tuple[Update, ...] = ()
        if self.clip is not None:
            clips += (Clip(self.clip),)
        if self.clip_norm is not None:
            clips += (ClipNorm(self.clip_norm),)
        average = () if self.average is False else (Average(0 if self.average is True else self.average),)
        return chain(*clips, self._descent(alpha, l1_ratio, size, steps), *average)

    def _descent(self, alpha: float, l1_ratio: float, size: int, steps: int) -> Update:
        if self.optimizer == "ftrl":
            return FTRL(self._rate, self.beta / size, alpha=alpha, l1_ratio=l1_ratio)
        rate = self._schedule(steps)
        if self.optimizer == "sgd":
            return sgd(rate, momentum=self.momentum, nesterov=self.nesterov, alpha=alpha)
        if self.optimizer == "adagrad":
            return adagrad(rate, alpha=alpha)
        return adam(rate, alpha=alpha) if self.optimizer == "adam" else adamw(rate, alpha=alpha)

    @property
    def _rate(self) -> float:
        return RATES[self.optimizer] if self.rate is None else self.rate

    def _schedule(self, steps: int) -> Schedule:
        rate: Schedule = Constant(self._rate)
        if self.schedule == "inverse-scaling":
            rate = InverseScaling(self._rate, self.power)
        elif self.schedule == "cosine":
            rate = Cosine(self._rate, max(steps, 1))
        return Warmup(self.warmup, rate) if self.warmup else rate


class Penalized(NamedTuple):
    """The penalty of a course: α, ρ, and a weight for each feature (None: 1)."""

    alpha: float = 0.0
    l1_ratio: float = 0.0
    weights: Vector | None = None

    def over(self, layout: Layout, n_features: int) -> Vector:
        """P over the parameters."""
        p = np.zeros(layout.size(n_features))
        p[: len(p) - layout.free] = 1.0
        if self.weights is not None:
            layout.split(p)[0][:] = self.weights[:, np.newaxis]
        return p


def course(
    how: Online,
    loss: Loss,
    predictor: Predictor,
    blocks: Blocks,
    block_rows: Sequence[int],
    table: FeatureTable,
    *,
    seed: int = 0,
    weight: float | None = None,
    penalty: Penalized | None = None,
    before: int = 0,
) -> Course:
    """A course of ``how`` over ``blocks``, which have ``block_rows`` rows each and the features of ``table``.

    ``seed`` is that of the order of rows, ``weight`` Σ s of all rows (None: their number), ``before`` the number of
    steps made before.
    """
    penalty = penalty or Penalized()
    n = sum(block_rows)
    size = how.size(n)
    mode: Mode = how.mode  # type: ignore[assignment]  # it was checked
    if mode != "synchronous":  # batches do not reach over blocks
        size = min(size, max(block_rows))
    a_block = [-(-rows // size) for rows in block_rows]
    steps = {"sequential": sum(a_block), "synchronous": -(-n // size), "averaged": max(a_block)}[mode]
    rule = how.rule(penalty.alpha, penalty.l1_ratio, size, before + how.epochs_of(n) * steps)
    constants = _constants(penalty, predictor.layout, table, n, size) if penalty.alpha else ()
    mean = 1.0 if weight is None else weight / n
    learner = Learner(loss, predictor, rule, size * mean, is_penalized=bool(constants))
    return Course(learner, Dealing(size, seed, how.shuffle), blocks, tuple(block_rows), mode, constants)


def _constants(penalty: Penalized, layout: Layout, table: FeatureTable, n: int, size: int) -> tuple[Vector, Vector]:
    """p and q, over the parameters: q = 1 − (1 − c/n)^B, the share of batches of B rows with a feature of c of n."""
    p, q = penalty.over(layout, len(table)), np.ones(layout.size(len(table)))
    rare = np.minimum(table.count, n) / n
    with np.errstate(divide="ignore"):  # log 0, of a feature of all rows
        layout.split(q)[0][:] = -np.expm1(size * np.log1p(-rare))[:, np.newaxis]
    return p, q


class Epoch(NamedTuple):
    """The progressive loss of an epoch, and the mean loss of the rows held out after it."""

    loss: float
    held_out: float | None = None


class Learnt(NamedTuple):
    """Where learning stands; ``ended`` says why it has ended, and is empty before."""

    point: Point
    epoch: int = 0
    cursor: int = 0
    score: Score = Score()
    history: tuple[Epoch, ...] = ()
    best: Vector | None = None
    ended: str = ""

    @property
    def iteration(self) -> int:
        """Epochs done."""
        return self.epoch

    @property
    def w(self) -> Vector:
        """The parameters."""
        return self.point.w


def learn(
    course: Course,
    point: Point,
    *,
    epochs: int,
    judge: Callable[[Vector], float] | None = None,
    patience: int = 5,
    tol: float = 1e-4,
    journal: Journal | None = None,
    callbacks: Sequence[Callback] = (),
    begin: int = 0,
) -> Learnt:
    """Go through ``course`` from ``point`` on.

    ``judge`` gives the mean loss of rows held out at some parameters. ``callbacks`` are called with the state after
    each leg; one that returns True ends it. ``begin`` is the number of the first epoch. How it ``ended``: "max_iter",
    "converged", "stopped" or "diverged".
    """
    watched = _Watched(course, epochs, judge, patience, tol, tuple(callbacks))
    return (journal or Journal()).advance(Learnt, partial(Learnt, point, begin), watched.step)


@dataclass(frozen=True, eq=False)
class _Watched:
    """A course that is watched."""

    course: Course
    epochs: int
    judge: Callable[[Vector], float] | None
    patience: int
    tol: float
    callbacks: tuple[Callback, ...]

    def step(self, state: Learnt) -> Learnt | None:
        """The state one leg later; None where learning has ended."""
        if state.ended:
            return None
        leg = self.course.leg(state.point, state.epoch, state.cursor)
        score = state.score.plus(leg.score)
        state = state._replace(point=leg.point, cursor=leg.cursor, score=score)
        if not (math.isfinite(score.value) and np.all(np.isfinite(leg.point.w))):
            return state._replace(ended="diverged", history=(*state.history, Epoch(score.mean)))
        if leg.cursor == 0:
            state = self._after_epoch(state)
        stop = [callback(state) for callback in self.callbacks]  # type: ignore[arg-type]  # it has an iteration and w
        return state._replace(ended="stopped") if any(stop) and not state.ended else state

    def _after_epoch(self, state: Learnt) -> Learnt:
        w = self.course.result(state.point)
        held_out = None if self.judge is None else self.judge(w)
        history = (*state.history, Epoch(state.score.mean, held_out))
        state = state._replace(epoch=state.epoch + 1, score=Score(), history=history)
        if held_out is not None:
            found = [epoch.held_out for epoch in history if epoch.held_out is not None]
            if held_out <= min(found):
                state = state._replace(best=w)
            before = found[: -self.patience]
            if before and min(found[-self.patience :]) > min(before) - self.tol:
                return state._replace(ended="converged")
        return state._replace(ended="max_iter") if state.epoch >= self.epochs else state
