"""Activations φ of a network's hidden units, with their first two derivatives.

    identity  z                     relu      max(0, z)                 tanh      tanh z
    sigmoid   σ(z)                  softplus  log(1 + eᶻ)               gelu      z Φ(z)

Φ is the normal distribution function (Hendrycks & Gimpel, *Gaussian Error Linear Units* (2016), without their
approximation). The kink of relu has the derivatives 0. Nothing overflows at |z| = 1e4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from blockdot.errors import SpecError
from blockdot.vectors import Vector

_DENSITY = 1.0 / math.sqrt(2.0 * math.pi)


@dataclass(frozen=True)
class Activation:
    """φ(z); φ′ and φ″ are given z and φ(z), and know which of them is cheaper to begin with."""

    value: Callable[[Vector], Vector]
    slope: Callable[[Vector, Vector], Vector]
    bend: Callable[[Vector, Vector], Vector]
    is_rectifier: bool = False
    """Whether half of the units are 0 at the start: their weights begin larger (He et al. 2015)."""


def _sigmoid(z: Vector) -> Vector:
    from scipy.special import expit

    return np.asarray(expit(z))


def _normal(z: Vector) -> Vector:
    from scipy.special import ndtr

    return np.asarray(ndtr(z))


def _density(z: Vector) -> Vector:
    return _DENSITY * np.exp(-0.5 * np.minimum(np.abs(z), 40.0) ** 2)


ACTIVATIONS: dict[str, Activation] = {
    "identity": Activation(np.copy, lambda z, _: np.ones_like(z), lambda z, _: np.zeros_like(z)),
    "relu": Activation(
        lambda z: np.maximum(z, 0.0), lambda z, _: (z > 0.0).astype(np.float64), lambda z, _: np.zeros_like(z), True
    ),
    "tanh": Activation(np.tanh, lambda _, a: 1.0 - a * a, lambda _, a: -2.0 * a * (1.0 - a * a)),
    "sigmoid": Activation(_sigmoid, lambda _, a: a * (1.0 - a), lambda _, a: a * (1.0 - a) * (1.0 - 2.0 * a)),
    "softplus": Activation(
        lambda z: np.logaddexp(0.0, z), lambda z, _: _sigmoid(z), lambda z, _: _sigmoid(z) * _sigmoid(-z)
    ),
    "gelu": Activation(
        lambda z: z * _normal(z),
        lambda z, _: _normal(z) + z * _density(z),
        lambda z, _: (2.0 - z * z) * _density(z),
        True,
    ),
}


def activation_named(name: str) -> Activation:
    """The activation of that name; SpecError for one that is not known."""
    if name not in ACTIVATIONS:
        raise SpecError(f"activation is {name!r}; needed one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]
