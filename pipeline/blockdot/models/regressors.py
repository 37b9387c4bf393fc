"""Regressions: least squares, robust losses, support vectors, and generalised linear models.

    LinearRegression     ½ (y − z)²                               HuberRegressor      quadratic near, linear far
    QuantileRegressor    pinball loss of the quantile τ           LinearSVR           zero within ε, linear beyond
    PoissonRegressor, GammaRegressor, TweedieRegressor            half the unit deviance of y and μ, g(μ) = z

The parameters that all have are described in :class:`blockdot.models.estimator.LinearModel`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import Tags
from sklearn.utils.validation import _check_sample_weight

from blockdot.blocks.dataset import Dataset
from blockdot.errors import SpecError
from blockdot.models.estimator import Estimator, OnePenalty, Rows, held
from blockdot.models.kinds import Option


class Regressor(RegressorMixin, Estimator):  # type: ignore[misc]
    """What the regressions share.

    Attributes
    ----------
    coef_ : array (n_features,) and intercept_ : float, of a linear one;  n_iter_ : int;
    model_ : Model, which can be saved
    """

    def predict(self, X: Rows, offset: ArrayLike | None = None) -> NDArray[np.float64]:
        """(n,) predictions of y, where every row's raw prediction has its ``offset`` added."""
        z = self._raw(X, offset)
        return self.model_.decide(z)

    def score(
        self,
        X: Rows,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        offset: ArrayLike | None = None,
    ) -> float:
        """R², on a Dataset or on a matrix with y (and the offsets of the rows, if they have any)."""
        if isinstance(X, Dataset):
            return self._metric("r2", held(X, y, sample_weight, offset))
        return float(r2_score(y, self.predict(X, offset), sample_weight=sample_weight))


@dataclass(kw_only=True, eq=False, repr=False)
class LinearRegression(Regressor, OnePenalty):
    """Least squares, ½ (y − x·w − b)², with a penalty: ridge, lasso, elastic net, non-negative, group lasso."""

    def _loss(self) -> tuple[str, Mapping[str, Option]]:
        return "squared", {}


@dataclass(kw_only=True, eq=False, repr=False)
class HuberRegressor(Regressor, OnePenalty):
    """Least squares that outliers do not move: ½ r² for |r| ≤ δ, else δ (|r| − ½ δ).

    Parameters
    ----------
    delta : float
        δ > 0, in the units of y. (scikit-learn's ``epsilon`` is in units of a scale that it estimates.)
    """

    delta: float = 1.35

    def _loss(self) -> tuple[str, Mapping[str, Option]]:
        return "huber", {"delta": self.delta}


@dataclass(kw_only=True, eq=False, repr=False)
class QuantileRegressor(Regressor, OnePenalty):
    """The quantile τ of y given x: τ r for r = y − z ≥ 0, else (τ − 1) r.

    The loss has a kink; it is approached by smooth ones, and the fit's ``gap_bound`` counts what is left of it.

    Parameters
    ----------
    quantile : float
        τ, between 0 and 1.
    """

    quantile: float = 0.5

    def _loss(self) -> tuple[str, Mapping[str, Option]]:
        return "quantile", {"quantile": self.quantile}


@dataclass(kw_only=True, eq=False, repr=False)
class LinearSVR(Regressor, OnePenalty):
    """Support vector regression: max(0, |y − z| − ε), or its square.

    Parameters
    ----------
    epsilon : float
        ε ≥ 0, in the units of y.
    loss : {"epsilon_insensitive", "squared_epsilon_insensitive"}
    """

    epsilon: float = 0.0
    loss: str = "epsilon_insensitive"

    def _loss(self) -> tuple[str, Mapping[str, Option]]:
        if self.loss not in ("epsilon_insensitive", "squared_epsilon_insensitive"):
            raise SpecError(f"loss is {self.loss!r}; needed 'epsilon_insensitive' or 'squared_epsilon_insensitive'")
        return self.loss.replace("_", "-"), {"epsilon": self.epsilon}


class GeneralizedLinear(Regressor):
    """What the generalised linear models share: the score is D², the share of the deviance that is explained."""

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        name, options = self._loss()
        tags.target_tags.positive_only = name in ("poisson", "gamma", "inverse-gaussian") or (
            name == "tweedie" and float(options["power"]) >= 1.0
        )
        return tags

    def score(
        self,
        X: Rows,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        offset: ArrayLike | None = None,
    ) -> float:
        """D², on a Dataset or on a matrix with y; with offsets against the best model that has them and no features."""
        if isinstance(X, Dataset):
            return self._metric("d2", held(X, y, sample_weight, offset))
        if offset is not None:
            with self._pool() as pool, self._training_data(X, y, sample_weight, offset, pool, reset=False) as data:
                return self._metric("d2", data)
        z = self._raw(X)
        loss: Any = self.model_.loss
        target = np.asarray(y, np.float64)
        s = _check_sample_weight(sample_weight, z[:, np.newaxis], dtype=np.float64)
        null = loss.deviance(target, np.full(len(target), np.average(target, weights=s)), s)
        return float(1.0 - loss.deviance_at(target, z, s) / null) if null > 0.0 else float("nan")


@dataclass(kw_only=True, eq=False, repr=False)
class GeneralizedLinearRegressor(GeneralizedLinear, OnePenalty):
    """A generalised linear model by its family and link.

    Parameters
    ----------
    family : {"gaussian", "binomial", "poisson", "gamma", "inverse-gaussian"}
        The distribution of y; "binomial" takes shares in [0, 1], with the number of trials as ``sample_weight``.
    link : str
        g, with g(μ) = z: "identity", "log", "logit", "probit", "cloglog", "inverse", "inverse-squared", "power(0.5)", …
        "auto" is the identity for gaussian, logit for binomial, and the logarithm for the others.
    """

    family: str = "gaussian"
    link: str = "auto"

    def _loss(self) -> tuple[str, Mapping[str, Option]]:
        families = ("gaussian", "binomial", "poisson", "gamma", "inverse-gaussian")
        if self.family not in families:
            raise SpecError(f"family is {self.family!r}; needed one of {', '.join(families)}")
        return self.family, {} if self.link == "auto" else {"link": self.link}


@dataclass(kw_only=True, eq=False, repr=False)
class PoissonRegressor(GeneralizedLinear, OnePenalty):
    """Counts y ≥ 0 with the variance μ.

    Parameters
    ----------
    link : str
        g, with g(μ) = z: "log", "identity", "inverse", "power(0.5)", …
    """

    link: str = "log"

    def _loss(self) -> tuple[str, Mapping[str, Option]]:
        return "poisson", {"link": self.link}


@dataclass(kw_only=True, eq=False, repr=False)
class GammaRegressor(GeneralizedLinear, OnePenalty):
    """Amounts y > 0 with the variance φ μ².

    Parameters
    ----------
    link : str
        g, with g(μ) = z.
    """

    link: str = "log"

    def _loss(self) -> tuple[str, Mapping[str, Option]]:
        return "gamma", {"link": self.link}


@dataclass(kw_only=True, eq=False, repr=False)
class TweedieRegressor(GeneralizedLinear, OnePenalty):
    """Targets with the variance φ μᵖ: normal (p = 0), Poisson (1), compound Poisson–gamma (1 < p < 2), gamma (2), …

    Parameters
    ----------
    power : float
        p: 0, or 1 and more, or negative.
    link : str
        g, with g(μ) = z; "auto" is the identity for p ≤ 0 and the logarithm otherwise.
    """

    power: float = 0.0
    link: str = "auto"

    def _loss(self) -> tuple[str, Mapping[str, Option]]:
        link = ("identity" if self.power <= 0 else "log") if self.link == "auto" else self.link
        return "tweedie", {"power": self.power, "link": link}
