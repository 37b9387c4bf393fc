"""Estimators that choose α by cross-validation: the whole path and all folds in shared passes (path.py).

The parameters that all have are described in :class:`blockdot.models.estimator.LinearModel`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import check_cv
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.validation import check_is_fitted

from blockdot.blocks.dataset import Dataset
from blockdot.blocks.tree import Pool
from blockdot.errors import SpecError
from blockdot.models.classifiers import LinearClassifier, Probabilistic
from blockdot.models.estimator import LinearModel
from blockdot.models.folds import Folds, GivenFolds, HashedFolds, TimeFolds
from blockdot.models.journal import Journal
from blockdot.models.kinds import Option
from blockdot.models.path import Grid, fit_path
from blockdot.models.recipe import Recipe
from blockdot.models.regressors import GeneralizedLinear, Regressor
from blockdot.solvers import Result


@dataclass(kw_only=True, eq=False, repr=False)
class CrossValidated(LinearModel):
    """What these estimators share.

    The models of all M − 1 folds, and that of all rows, are fitted together: of K outputs, M K numbers a feature in
    each vector of the solver, and M K numbers a row that a process remembers between passes, where there is room.

    Parameters
    ----------
    alphas : array or None
        The α to choose from; None for ``n_alphas`` of them, from the least that leaves no feature to ``eps`` of it.
    n_alphas, eps : int, float
        See above.
    cv : int, bd.TimeFolds, bd.HashedFolds, splitter, or iterable of (train, test)
        A number of folds, dealt out by a hash of each row's identity (the same for any number of workers, and whatever
        the classes), so that rows of one ``row_id`` fall in one fold; ``TimeFolds(5)`` judges each model by the rows
        that follow those that it is fitted to; or, for rows in memory, what scikit-learn takes (``GroupKFold()`` and
        its like with ``bd.Dataset.from_arrays(X, y, groups=...)``).
    rule : {"best", "1se"}
        The α whose models lose least on rows that they have not seen, or the largest within one standard error of it.

    Attributes
    ----------
    alpha_ : float, the α that was chosen;  alphas_ : array (A,), falling
    loss_path_ : array (A, n_folds), the mean loss of each fold's own rows
    coef_path_ : array (A, n_features) and intercept_path_ : array (A,), of the models of all rows; of K > 2 classes
        (A, K, n_features) and (A, K)
    """

    alphas: ArrayLike | None = None
    n_alphas: int = 100
    eps: float = 1e-3
    cv: Any = 5
    rule: str = "best"
    tol: float = 1e-4

    def _fitted(self, data: Dataset, recipe: Recipe, pool: Pool, journal: Journal) -> Result[Any]:
        if self.warm_start:
            raise SpecError(
                "warm_start goes with one alpha: a path begins where its largest alpha leaves nothing, and each of the "
                "others where the ones before it ended"
            )
        grid = Grid(self.alphas, self.n_alphas, self.eps)
        self.model_, found = fit_path(
            data, recipe, pool, grid, self._folds(data), rule=self.rule, journal=journal, callbacks=self.callbacks
        )
        self._path = found
        self.alphas_, self.loss_path_, self.intercept_path_ = found.alphas, found.losses, found.intercept
        self.alpha_ = float(found.alphas[found.best])
        return found.results[found.best]

    @property
    def coef_path_(self) -> NDArray[np.float64]:
        """(A, n_features), or (A, K, n_features) of K classes: the coefficients of the models of all rows at each α."""
        check_is_fitted(self)
        return self._path.dense_coef(self.n_features_in_)

    def _folds(self, data: Dataset) -> Folds:
        if isinstance(self.cv, (int, np.integer)):
            return HashedFolds(int(self.cv))
        if isinstance(self.cv, (HashedFolds, TimeFolds)):
            return self.cv
        if data.path is not None:
            raise SpecError("a splitter goes with arrays; for a block store cv is a number of folds, or TimeFolds(5)")
        blocks = [data.source.block(i) for i in range(data.n_blocks)]
        y = np.concatenate([np.asarray(block.y) for block in blocks])
        found = [block.group for block in blocks if block.group is not None]
        groups = np.concatenate(found) if len(found) == len(blocks) else None
        splitter = check_cv(self.cv)
        by_group = get_routing_for_object(splitter).split.requests.get("groups") is True
        if by_group and groups is None:
            raise SpecError(
                f"{type(splitter).__name__} needs the group of each row: fit to Dataset.from_arrays(X, y, groups=...)"
            )
        return _masks(splitter.split(np.zeros((data.n_rows, 1)), y, groups if by_group else None), data.n_rows)


def _masks(splits: Iterable[tuple[NDArray[np.intp], NDArray[np.intp]]], n: int) -> GivenFolds:
    train: list[NDArray[np.bool_]] = []
    test: list[NDArray[np.bool_]] = []
    for fit_rows, judged_rows in splits:
        for rows, masks in ((fit_rows, train), (judged_rows, test)):
            mask = np.zeros(n, np.bool_)
            mask[rows] = True
            masks.append(mask)
    return GivenFolds(np.stack(train, axis=1), np.stack(test, axis=1))


@dataclass(kw_only=True, eq=False, repr=False)
class LogisticRegressionCV(Probabilistic, LinearClassifier, CrossValidated):
    """Logistic regression of any number of classes, or of labels (y (n, L)), α by cross-validation: one α for all."""


@dataclass(kw_only=True, eq=False, repr=False)
class ElasticNetCV(Regressor, CrossValidated):
    """Least squares with an elastic net, α by cross-validation: ``l1_ratio=1`` is the lasso, 0 ridge regression."""

    l1_ratio: float = 0.5

    def _loss(self) -> tuple[str, Mapping[str, Option]]:
        return "squared", {}


@dataclass(kw_only=True, eq=False, repr=False)
class PoissonRegressorCV(GeneralizedLinear, CrossValidated):
    """Counts y ≥ 0 with a logarithmic link, α by cross-validation."""

    def _loss(self) -> tuple[str, Mapping[str, Option]]:
        return "poisson", {}


@dataclass(kw_only=True, eq=False, repr=False)
class TweedieRegressorCV(GeneralizedLinear, CrossValidated):
    """Targets with the variance φ μᵖ and a logarithmic link, α by cross-validation.

    Parameters
    ----------
    power : float
        p, at least 1.
    """

    power: float = 1.5

    def _loss(self) -> tuple[str, Mapping[str, Option]]:
        return "tweedie", {"power": self.power, "link": "log"}
