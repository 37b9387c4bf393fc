"""Features left out of a minimisation, because they will be zero: shorter rows, and shorter vectors.

    |∂ⱼ F(W(α'))|  <  2 λⱼ(α) − λⱼ(α')       then almost surely wⱼ(α) = 0,        α' > α

the sequential strong rule for L1 penalties λⱼ: it says that no gradient moves faster than its threshold does
(Tibshirani, Bien, Friedman, Hastie, Simon, Taylor & Tibshirani, *J. R. Stat. Soc. B* 74 (2012), section 2). It can be
wrong, and so whoever leaves features out looks at the gradient of all of them afterwards.

What is left is an objective of its own, over copies of the blocks without the other columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blockdot.blocks.block import Block, numbers
from blockdot.blocks.layout import Layout
from blockdot.blocks.sums import View
from blockdot.objective.objective import Objective
from blockdot.objective.penalties import ElasticNet
from blockdot.vectors import Vector

Positions = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ScreenedSource(View):
    """The blocks of ``source`` with the features at the positions ``kept`` alone, ascending."""

    kept: Positions

    @property
    def n_features(self) -> int:
        return len(self.kept)

    def block(self, index: int) -> Block:
        """Block ``index``, a copy."""
        block = self.source.block(index)
        place = np.searchsorted(self.kept, block.places)
        place = np.where(place < len(self.kept), place, 0)
        here = self.kept[place] == block.places if len(self.kept) else np.zeros(len(place), np.bool_)
        X, positions = block.X.keep(here), place[here]
        copied = replace(block, X=X, columns=numbers(self.source.n_features)[block.places[here]])
        return replace(copied.placed(positions, self.n_features), copied=X.nbytes + 3 * positions.nbytes)


@dataclass(frozen=True, eq=False)
class Screened:
    """An objective over some of the features, and how its parameters go with those over all."""

    objective: Objective
    kept: Positions
    n_features: int
    """Of all."""

    def inward(self, w: Vector) -> Vector:
        """The parameters of the features that are kept."""
        rows, tail = self._layout.split(w)
        return np.concatenate([rows[self.kept].ravel(), tail])

    def outward(self, v: Vector) -> Vector:
        """0 for those that are not."""
        rows, tail = self._layout.split(v)
        out = np.zeros((self.n_features, self._layout.width))
        out[self.kept] = rows
        return np.concatenate([out.ravel(), tail])

    def told(self, callbacks: Sequence[Callable[[Any], object]]) -> Sequence[Callable[[Any], bool]]:
        """The callbacks, which hear of the parameters of all features; what else is in a state is the solver's."""

        def of_all(state: Any) -> bool:
            whole = state._replace(w=self.outward(state.w), grad=self.outward(state.grad))
            answers = [callback(whole) for callback in callbacks]  # each of them is called
            return any(answers)

        return [of_all] if callbacks else []

    @property
    def _layout(self) -> Layout:
        return self.objective.layout


@contextmanager
def screened(objective: Objective, kept: Positions) -> Iterator[Screened]:
    """The objective over the features at the positions ``kept``. Its penalty is an elastic net."""
    penalty, blocks = objective.penalty, objective.blocks
    assert isinstance(penalty, ElasticNet)
    with blocks.view(ScreenedSource(blocks.source, kept)) as view:
        scaling = objective.scaling.taken(kept)
        few = replace(objective, blocks=view, scaling=scaling, penalty=penalty.taken(kept))
        yield Screened(few, kept, blocks.n_features)


def strong(l1: Vector, weaker: float, grad: Vector, ends: tuple[Vector, ...], layout: Layout) -> Positions:
    """The features that the strong rule keeps: of any output; and those that are not 0 at one of the ``ends``.

    ``grad`` is that of the loss where the penalty was ``weaker`` times ``l1``, with weaker at least 1.
    """
    moves: NDArray[np.bool_] = np.abs(grad) >= (2.0 - weaker) * l1
    for w in ends:
        moves |= w != 0.0
    return np.flatnonzero(np.any(layout.split(moves.astype(np.float64))[0] > 0.0, axis=1))
