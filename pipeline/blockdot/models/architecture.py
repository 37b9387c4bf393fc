"""Which predictor a model has: a linear map, or a network with hidden layers; and where a network's weights begin.

    bound of uniform weights   √(6/(f_in + f_out))  (Glorot & Bengio, *AISTATS* (2010), eq. 16),   or for units that are
                               0 for half of their inputs  √(6/f_in)  (He et al., *ICCV* (2015), eq. 10)

f_in of the first layer is Σⱼ E xⱼ², what those derivations need of the inputs: the number of columns where each has the
mean square 1, and few where rows are sparse, whatever the width of the space of features. Biases begin at 0, those of
the outputs where the best model without features has them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from blockdot.blocks.block import Block
from blockdot.blocks.dataset import Dataset
from blockdot.blocks.layout import FeatureSum, Layout
from blockdot.blocks.sums import Blocks
from blockdot.errors import SpecError
from blockdot.objective.activations import activation_named
from blockdot.objective.network import Network
from blockdot.objective.passes import Partial
from blockdot.objective.predictors import Linear
from blockdot.objective.scaling import Scaling, Standardized
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


def predictor_of(network: Architecture | None, intercept: bool, outputs: int | None) -> AnyPredictor:
    """The predictor: linear, unless there is a network."""
    if network is None:
        return Linear(intercept, outputs)
    return Network(network.hidden, network.activation, outputs)


@dataclasses.dataclass(frozen=True)
class _Squares:
    """Σ xⱼ² of each feature, over the rows of a block."""

    layout: Layout = dataclasses.field(default_factory=Layout)

    def __call__(self, block: Block) -> Partial:
        total = np.zeros(len(block.columns))
        for tile in block.tiles():
            tile.X.add_tdot(np.ones(tile.n_rows), total, squared=True)
        return Partial(block.n_rows, 0.0, FeatureSum.of(block, total, self.layout))


def initial_weights(network: Network, data: Dataset, blocks: Blocks, scaling: Scaling, random_state: int) -> Vector:
    """Where the weights begin, as ``scaling`` has them; drawn by feature id, so that only the data and seed matter."""
    squares = blocks.sum(_Squares())
    assert squares.vector is not None
    mean_square = squares.vector.dense() / squares.weight
    if isinstance(scaling, Standardized):
        mean_square /= scaling.sd[:, 0] ** 2
    draw, rectifies = np.random.default_rng(random_state), activation_named(network.activation).is_rectifier
    w = np.zeros(network.layout.size(len(data.table)))
    weights, _ = network.split(w)
    fans = pairwise((max(float(np.sum(mean_square)), 1.0), *network.sizes))
    last = len(weights) - 1
    for level, (W, (f_in, f_out)) in enumerate(zip(weights, fans, strict=True)):
        bound = math.sqrt(6.0 / f_in if rectifies and level < last else 6.0 / (f_in + f_out))
        W[:] = draw.uniform(-bound, bound, W.shape)
    weights[0][:] = weights[0][np.argsort(np.argsort(data.table.ids))]
    return w
