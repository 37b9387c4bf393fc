"""Losses by the names that model files, job specs and estimators have for them, with what they ask of the targets.

name and options  →  a loss,        {"name": "tweedie", "power": 1.5, "link": "log"}  →  Tweedie(1.5, Log())
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from blockdot.errors import SpecError
from blockdot.objective.binomial import Binomial
from blockdot.objective.families import Gamma, Gaussian, InverseGaussian, Poisson, Tweedie
from blockdot.objective.links import link_named
from blockdot.objective.losses import Logistic, Loss, Squared
from blockdot.objective.multiclass import BinaryCrossEntropy, Softmax
from blockdot.objective.robust import (
    EpsilonInsensitive,
    Hinge,
    Huber,
    Quantile,
    SquaredEpsilonInsensitive,
    SquaredHinge,
)

Option: TypeAlias = float | int | str
Targets = Literal["numbers", "two classes", "classes", "labels"]
"""A number a row; one of two, or one of K classes a row; any of L labels a row."""


@dataclass(frozen=True)
class Kind:
    """A loss: how it is made of its options, and what y must be."""

    make: Callable[..., Loss]
    targets: Targets
    options: tuple[str, ...] = ()
    has_probabilities: bool = False


KINDS: dict[str, Kind] = {
    "squared": Kind(Squared, "numbers"),
    "huber": Kind(Huber, "numbers", ("delta",)),
    "quantile": Kind(Quantile, "numbers", ("quantile", "smoothing")),
    "epsilon-insensitive": Kind(EpsilonInsensitive, "numbers", ("epsilon", "smoothing")),
    "squared-epsilon-insensitive": Kind(SquaredEpsilonInsensitive, "numbers", ("epsilon",)),
    "gaussian": Kind(Gaussian, "numbers", ("link",)),
    "binomial": Kind(Binomial, "numbers", ("link",)),
    "poisson": Kind(Poisson, "numbers", ("link",)),
    "gamma": Kind(Gamma, "numbers", ("link",)),
    "inverse-gaussian": Kind(InverseGaussian, "numbers", ("link",)),
    "tweedie": Kind(Tweedie, "numbers", ("power", "link")),
    "logistic": Kind(Logistic, "two classes", has_probabilities=True),
    "hinge": Kind(Hinge, "two classes", ("smoothing",)),
    "squared-hinge": Kind(SquaredHinge, "two classes"),
    "softmax": Kind(Softmax, "classes", ("outputs",), has_probabilities=True),
    "one-vs-rest": Kind(BinaryCrossEntropy, "classes", ("outputs",), has_probabilities=True),
    "multi-label": Kind(BinaryCrossEntropy, "labels", ("outputs",), has_probabilities=True),
}


def kind_of(name: str) -> Kind:
    """The kind called ``name``; SpecError for one that is not known."""
    if name not in KINDS:
        raise SpecError(f"loss is {name!r}; needed one of {', '.join(KINDS)}")
    return KINDS[name]


def make_loss(name: str, options: Mapping[str, Option]) -> Loss:
    """The loss of that name; SpecError for a name or an option that is not known."""
    kind = kind_of(name)
    strange = sorted(set(options) - set(kind.options))
    if strange:
        known = ", ".join(kind.options) or "none"
        raise SpecError(f"the loss {name} has no option {strange[0]!r} (its options: {known}): remove it")
    made = {key: link_named(str(value)) if key == "link" else value for key, value in options.items()}
    return kind.make(**made)
