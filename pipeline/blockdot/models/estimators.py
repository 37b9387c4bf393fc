"""Linear models with scikit-learn's manners: ``fit``, ``predict``, ``score``, ``get_params``, ``clone``, pipelines.

    minimise  (1/S) Σ s ℓ(y, x·w + b) + α/2 ‖w‖²      ℓ squared or logistic, b not penalised

``alpha`` is α; scikit-learn's ``C`` is 1/(α S), its Ridge's ``alpha`` is α S. Learnt things end in an underscore.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from blockdot.blocks.dataset import Dataset
from blockdot.blocks.threads import ThreadPool
from blockdot.blocks.tree import Pool
from blockdot.errors import SpecError
from blockdot.models.evaluate import evaluate
from blockdot.models.fit import Callback, Recipe, fit
from blockdot.models.model import Model

Matrix = sp.sparray | sp.spmatrix | ArrayLike
Rows = Dataset | Matrix


class LinearModel(BaseEstimator):  # type: ignore[misc]
    """What the linear estimators share. Their docstrings say what the parameters mean."""

    _loss: Literal["logistic", "squared"]
    model_: Model

    def __init__(
        self,
        *,
        alpha: float = 1e-6,
        solver: str = "auto",
        tol: float = 1e-6,
        max_iter: int = 100,
        fit_intercept: bool = True,
        warm_start: bool = False,
        n_jobs: int | None = None,
        client: object | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.alpha = alpha
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.fit_intercept = fit_intercept
        self.warm_start = warm_start
        self.n_jobs = n_jobs
        self.client = client
        self.callbacks = callbacks

    def fit(self, X: Rows, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None) -> Self:
        """Fit to a Dataset (which holds y and the weights), or to a matrix (n, d) with y (n,) and weights (n,)."""
        data = self._training_data(X, y, sample_weight)
        start = self.model_ if self.warm_start and hasattr(self, "model_") else None
        recipe = Recipe(
            self._loss,
            alpha=self.alpha,
            fit_intercept=self.fit_intercept,
            solver=self.solver,
            tol=self.tol,
            max_iter=self.max_iter,
        )
        with self._pool() as pool:
            self.model_, result = fit(data, recipe, pool, start=start, callbacks=self.callbacks)
        self.n_features_in_ = data.n_features
        self.n_iter_ = result.iterations
        if not result.converged:
            warnings.warn(f"{type(self).__name__}: {result.message}", ConvergenceWarning, stacklevel=2)
        return self

    @property
    def intercept_(self) -> Any:
        """b."""
        return self.model_.intercept

    def _raw(self, X: Rows) -> NDArray[np.float64]:
        check_is_fitted(self)
        if isinstance(X, (str, Path)):
            raise SpecError(f"{X!r} is a path; model_.predict and model_.predict_proba read raw files")
        if not isinstance(X, Dataset):
            X = validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=False)
        with self._pool() as pool:
            return self.model_.raw(X, pool)

    def _training_data(self, X: Rows, y: ArrayLike | None, sample_weight: ArrayLike | None) -> Dataset:
        if isinstance(X, Dataset):
            if y is not None or sample_weight is not None:
                raise SpecError("a Dataset holds its targets and weights: call fit(dataset) without y or sample_weight")
            return X
        if isinstance(X, (str, Path)):
            raise SpecError(
                f"{X!r} is a path; make a Dataset of it first: bd.ingest(path, out=...), or bd.Dataset.open"
            )
        matrix, target = validate_data(
            self, X, y, accept_sparse="csr", dtype=[np.float64, np.float32], y_numeric=self._loss == "squared"
        )
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, matrix, dtype=np.float64)
        y, names = self._encode(target)
        return replace(Dataset.from_arrays(matrix, y, sample_weight), classes=names)

    def _encode(self, y: NDArray[Any]) -> tuple[NDArray[Any], tuple[str, ...] | None]:
        """The targets as numbers, and what the numbers 0, 1, … stand for where the targets are text."""
        return y, None

    @contextmanager
    def _pool(self) -> Iterator[Pool]:
        if self.client is not None:
            from blockdot.blocks.dask import DaskPool

            yield DaskPool(self.client)
        else:
            yield ThreadPool(None if self.n_jobs in (None, -1) else self.n_jobs)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class LinearRegression(RegressorMixin, LinearModel):  # type: ignore[misc]
    """Least squares, ½ (y − x·w − b)², with an L2 penalty.

    Parameters
    ----------
    alpha : float
        Strength of the penalty α/2 ‖w‖², at least 0, on the scale of the mean loss.
    solver : {"auto", "newton-cg", "newton-cholesky", "lbfgs", "gradient-descent"}
        How to minimise; ``auto`` chooses by the data, and logs what and why.
    tol : float
        Stop when the norm of the gradient is below ``tol`` times its norm at 0.
    max_iter : int
        Most iterations; a fit that ends there warns.
    fit_intercept : bool
        Whether there is a b.
    warm_start : bool
        Whether ``fit`` starts from the last fit.
    n_jobs : int or None
        Threads; None and −1 mean all cores that this process may use. The result has the same bits for any number.
    client : distributed.Client or None
        A Dask cluster to work on instead.
    callbacks : sequence of callables
        Called with the solver's state after each iteration; one that returns True stops the fit.

    Attributes
    ----------
    coef_ : array (n_features,);  intercept_ : float;  n_iter_ : int;  model_ : Model, which can be saved
    """

    _loss = "squared"

    @property
    def coef_(self) -> NDArray[np.float64]:
        """w, one number a feature; 0 where a feature did not occur."""
        return self.model_.dense_coef()

    def predict(self, X: Rows) -> NDArray[np.float64]:
        """(n,) expected values."""
        return self._raw(X)

    def score(self, X: Rows, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None) -> float:
        """R², on a Dataset or on a matrix with y."""
        if isinstance(X, Dataset):
            check_is_fitted(self)
            with self._pool() as pool:
                value = evaluate(self.model_, X, pool)["r2"]
            return float("nan") if value is None else value
        return float(super().score(X, y, sample_weight))


class LogisticRegression(ClassifierMixin, LinearModel):  # type: ignore[misc]
    """Logistic regression of two classes, log(1 + eᶻ) − y z, with an L2 penalty.

    The parameters are those of :class:`LinearRegression`.

    Attributes
    ----------
    classes_ : array (2,);  coef_ : array (1, n_features);  intercept_ : array (1,);  n_iter_;  model_
    """

    _loss = "logistic"

    def fit(self, X: Rows, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None) -> Self:
        """Fit to a Dataset, or to a matrix (n, d) with y (n,) of two distinct labels of any type."""
        super().fit(X, y, sample_weight)
        if isinstance(X, Dataset):
            self.classes_ = self.model_.class_labels
        return self

    @property
    def coef_(self) -> NDArray[np.float64]:
        """w as one row; 0 where a feature did not occur."""
        return self.model_.dense_coef()[np.newaxis, :]

    @property
    def intercept_(self) -> NDArray[np.float64]:
        """b as an array of one number."""
        return np.array([self.model_.intercept])

    def decision_function(self, X: Rows) -> NDArray[np.float64]:
        """(n,) raw predictions z; above 0 is the second class."""
        return self._raw(X)

    def predict_proba(self, X: Rows) -> NDArray[np.float64]:
        """(n, 2) probabilities of ``classes_``."""
        z = self._raw(X)
        p = self.model_.loss.predict(z)
        return np.column_stack([1.0 - p, p])

    def predict(self, X: Rows) -> NDArray[Any]:
        """(n,) the class of each row."""
        z = self._raw(X)
        return self.classes_[(z > 0).astype(np.intp)]

    def score(self, X: Rows, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None) -> float:
        """Accuracy, on a Dataset or on a matrix with y."""
        if isinstance(X, Dataset):
            check_is_fitted(self)
            with self._pool() as pool:
                value = evaluate(self.model_, X, pool)["accuracy"]
            return float("nan") if value is None else value
        return float(super().score(X, y, sample_weight))

    def _encode(self, y: NDArray[Any]) -> tuple[NDArray[Any], tuple[str, ...] | None]:
        check_classification_targets(y)
        kind = type_of_target(y, input_name="y", raise_unknown=True)
        if kind != "binary":
            raise ValueError(f"Only binary classification is supported. The type of the target is {kind}.")
        self.classes_, places = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y has one class only ({self.classes_[0]}); needed exactly 2 to tell apart")
        if self.classes_.dtype.kind in "biuf":
            return y, None
        return places, tuple(map(str, self.classes_))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags
