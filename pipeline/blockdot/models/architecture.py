"""Which predictor a model has: a linear map, or a network with hidden layers; and where a network's weights begin.

    bound of uniform weights   √(6/(f_in + f_out))  (Glorot & Bengio, *AISTATS* (2010), eq. 16),   or for units that are
                               0 for half of their inputs  √(6/f_in)  (He et al., *ICCV* (2015), eq. 10)

f_in of the first layer is the number of features that occur. Of sparse rows that is less than what would keep the size
of z₁, on purpose: the weights of a rare feature stay near where they began, and large ones would be noise on new rows
(20 newsgroups, 5 epochs of Adam: 93 of 100 right, and 78 with bounds by the mean squared length of a row). Biases begin
at 0, those of the outputs where the best model without features has them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from blockdot.blocks.dataset import Dataset
from blockdot.errors import SpecError
from blockdot.objective.activations import activation_named
from blockdot.objective.network import Network
from blockdot.objective.predictors import Linear
from blockdot.vectors import Vector

AnyPredictor = Linear | Network


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Architecture:
    """The hidden layers of a network: how many units each has, and what they do."""

    hidden: tuple[int, ...]
    activation: str = "relu"

    def __post_init__(self) -> None:
        try:
            Network(self.hidden, self.activation)
        except SpecError as error:
            raise ValueError(str(error)) from None

    @classmethod
    def of(cls, hidden: Sequence[int], activation: str) -> Architecture:
        """The architecture; SpecError where there is none."""
        Network(tuple(hidden), activation)
        return cls(tuple(hidden), activation)


def predictor_of(
    network: Architecture | None, intercept: bool, outputs: int | None, dropout: float = 0.0
) -> AnyPredictor:
    """The predictor: linear, unless there is a network."""
    if network is None:
        return Linear(intercept, outputs)
    return Network(network.hidden, network.activation, outputs, dropout)


def initial_weights(network: Network, data: Dataset, random_state: int) -> Vector:
    """Where the parameters begin; drawn by feature id, so that only the data and the seed matter."""
    draw, rectifies = np.random.default_rng(random_state), activation_named(network.activation).is_rectifier
    k = len(data.table)
    w = np.zeros(network.layout.size(k))
    weights, _ = network.split(w)
    last = len(weights) - 1
    for level, (W, (f_in, f_out)) in enumerate(zip(weights, pairwise((max(k, 1), *network.sizes)), strict=True)):
        bound = math.sqrt(6.0 / f_in if rectifies and level < last else 6.0 / (f_in + f_out))
        W[:] = draw.uniform(-bound, bound, W.shape)
    weights[0][:] = weights[0][np.argsort(np.argsort(data.table.ids))]
    return w
