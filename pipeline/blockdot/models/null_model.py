"""The best model without features: where a path begins, and what any model must beat.

    b* = argmin (1/S) Σ s ℓ(y, b + o)         with features that no penalty holds back, where there are any

Of many losses the mean of y says it: g(ȳ) of a generalised linear model, the logarithms of the classes' shares. With
offsets, for other losses, and with unpenalised features it is found by Newton steps, under an L1 penalty that leaves
nothing of what it weighs.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from blockdot.models.targets import Tally
from blockdot.objective.losses import Loss
from blockdot.objective.objective import Objective
from blockdot.objective.penalties import ElasticNet
from blockdot.solvers import ProximalNewton, minimize
from blockdot.vectors import Vector

_LEAVES_NOTHING = 1e300


def by_means(loss: Loss, found: Tally) -> Vector | None:
    """The intercepts, one or K, by the mean of y or the shares of its classes; None where they do not say them.

    They are finite, also of labels that every row has, or none (:func:`blockdot.models.targets.smoothed`).
    """
    at_mean = getattr(loss, "start_z", None)
    if not callable(at_mean):
        return None
    several = getattr(loss, "outputs", None) is not None
    return np.atleast_1d(np.asarray(at_mean(found.smoothed_shares if several else found.mean), np.float64))


def null_parameters(objective: Objective, found: Tally, penalised: Vector | None = None) -> Vector:
    """The parameters of the best model without those features that are ``penalised``, (k,) of 0 and 1; None for all.

    ``found`` is the tally of the rows. As the objective's parameters are scaled; its own penalty does not matter.
    """
    w, tail = objective.zeros(), objective.layout.tail
    means = by_means(objective.loss, found)
    if tail and means is not None:
        w[-tail:] = means
    is_known = penalised is None and (not tail or (means is not None and not found.has_offset))
    if is_known:
        return w
    penalty = ElasticNet(_LEAVES_NOTHING, 1.0, penalised)
    return minimize(replace(objective, penalty=penalty), ProximalNewton(head=0), w, tol=1e-8).w
