"""Minimising with few of the features, where an L1 penalty will leave few: one step of a path.

    which       the strong rule says, from the gradient at the minimum under a stronger penalty (objective/screening.py)
    the rest    is looked at afterwards: whose gradient is above its threshold at the minimum comes back, and so on

The gradient where one step ends is where the next one begins, so a step costs one pass over all features.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blockdot.models.journal import Callback
from blockdot.objective.objective import Objective
from blockdot.objective.penalties import ElasticNet
from blockdot.objective.screening import screened, strong
from blockdot.objective.terms import Separable
from blockdot.solvers import Result, Status
from blockdot.vectors import Vector

logger = logging.getLogger(__name__)

Found = tuple[Result[Any], float | None]
"""A minimum, and a bound of how far it is above the least value, where one is known."""
Solve = Callable[[Objective, Vector, Sequence[Callback]], Found]

MANY = 1024
"""Features are left out where there are more than so many."""
_SHARE, _MOST_ENTRIES = 0.5, 1 << 25  # of the entries at most this share, and so many, may be left for it


@dataclass
class Screening:
    """``loss`` without a penalty, and the ``count`` (k,) of rows in which each feature occurs."""

    loss: Objective
    count: NDArray[np.int64]
    _last: tuple[Vector, Vector] | None = field(default=None, init=False)
    """Where the gradient was looked at last, and the gradient there."""

    def minimum(
        self,
        objective: Objective,
        weaker: float,
        ends: tuple[Vector, Vector],
        solved: Solve,
        callbacks: Sequence[Callback],
    ) -> Found:
        """The minimum by rows with few of the features, where few will not be zero; its bound is not known then.

        ``ends`` are the minimum under a penalty that is ``weaker`` times as strong, and where to start.
        """
        term, start = objective.term, ends[-1]
        if not self._can_leave_out(objective):
            return solved(objective, start, callbacks)
        assert isinstance(term, Separable)
        kept = strong(term.l1, weaker, self._slope(ends[0]), ends, objective.layout)
        while self._is_worth_it(kept):
            with screened(objective, kept) as few:
                result, _ = solved(few.objective, few.inward(start), few.told(callbacks))
            if result.status is Status.DIVERGED:
                break
            start = few.outward(result.w)
            residual = term.residual(start, self._slope(start) + objective.penalty.grad(start, objective.layout))
            wrong = np.flatnonzero(np.any(objective.layout.split(residual)[0] != 0.0, axis=1))
            wrong = np.setdiff1d(wrong, kept, assume_unique=True)
            if not len(wrong) or result.status is Status.STOPPED:
                return replace(result, w=start, state=result.state._replace(w=start, grad=residual)), None
            logger.info("%d features that were left out come back", len(wrong))
            kept = np.union1d(kept, wrong)
        return solved(objective, start, callbacks)

    def _can_leave_out(self, objective: Objective) -> bool:
        """Whether there is an L1 penalty, of many features that may be 0, and one loss for all of a minimisation."""
        term = objective.term
        if not (isinstance(objective.penalty, ElasticNet) and isinstance(term, Separable)):
            return False
        may_be_zero = bool(np.all(term.lower <= 0.0) and np.all(term.upper >= 0.0))
        return may_be_zero and objective.blocks.n_features > MANY and not hasattr(objective.loss, "smoothing")

    def _is_worth_it(self, kept: NDArray[np.int64]) -> bool:
        """Whether copies of the rows with these features alone are much shorter, and not too large."""
        entries = int(np.sum(self.count[kept]))
        return 0 < entries <= min(_SHARE * int(np.sum(self.count)), _MOST_ENTRIES)

    def _slope(self, w: Vector) -> Vector:
        """The gradient of the loss at w; that of the last w is remembered."""
        if self._last is None or not np.array_equal(self._last[0], w):
            self._last = w, self.loss.value_and_grad(w)[1]
        return self._last[1]
