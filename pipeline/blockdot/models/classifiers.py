"""Classifiers: logistic regression of two and more classes, and linear support vectors.

The parameters that all have are described in :class:`blockdot.models.estimator.LinearModel`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d

from blockdot.blocks.dataset import Dataset
from blockdot.errors import SpecError
from blockdot.models.estimator import Estimator, LinearEstimator, OnePenalty, Rows, held
from blockdot.models.kinds import Option
from blockdot.models.recipe import Recipe
from blockdot.models.targets import ClassWeight


@dataclass(kw_only=True, eq=False, repr=False)
class Classifier(ClassifierMixin, Estimator):  # type: ignore[misc]
    """What the classifiers share.

    Parameters
    ----------
    class_weight : mapping, "balanced" or None
        A factor for the weight of each class's rows (1 for those not named); "balanced" gives all the same sum.

    Attributes
    ----------
    classes_ : array (K,), for labels 0 … L−1;  n_iter_ : int;  model_ : Model, which can be saved
    """

    class_weight: ClassWeight = None

    _numeric: ClassVar[bool] = False
    _several: ClassVar[bool] = True
    """Whether more than two classes can be told apart."""

    def _recipe(self) -> Recipe:
        return replace(super()._recipe(), class_weight=self.class_weight)

    def fit(
        self,
        X: Rows,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        offset: ArrayLike | None = None,
    ) -> Self:
        """Fit to a Dataset, or to a matrix (n, d) with labels y (n,) of any type, weights and offsets (n,)."""
        super().fit(X, y, sample_weight, offset)
        if isinstance(X, Dataset):
            self.classes_ = self.model_.class_labels
        constant = self.model_.constant_labels
        if len(constant):
            warnings.warn(
                f"{type(self).__name__}: every training row has these labels, or none has: "
                f"{', '.join(map(str, constant))}; there is nothing to learn about them, and a constant predicts them",
                UserWarning,
                stacklevel=2,
            )
        return self

    def decision_function(self, X: Rows, offset: ArrayLike | None = None) -> NDArray[np.float64]:
        """(n,) raw predictions z, above 0 for the second class; (n, K) of several classes or labels."""
        return self._raw(X, offset)

    def predict(self, X: Rows, offset: ArrayLike | None = None) -> NDArray[Any]:
        """(n,) the class of each row; (n, L) of 0 and 1 where a row can have any number of L labels."""
        z = self._raw(X, offset)
        return self.model_.outcome.decide(z, self.classes_)

    def score(
        self,
        X: Rows,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        offset: ArrayLike | None = None,
    ) -> float:
        """Accuracy, on a Dataset or on a matrix with y; of labels the share of rows with every label right."""
        if isinstance(X, Dataset):
            return self._metric("accuracy", held(X, y, sample_weight, offset))
        return float(accuracy_score(y, self.predict(X, offset), sample_weight=sample_weight))

    def _numbered(self, y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None]:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y.toarray() if hasattr(y, "toarray") else y, warn=True)
        check_classification_targets(y)
        kind = type_of_target(y, input_name="y", raise_unknown=True)
        if kind == "multilabel-indicator" and self._multi_label:
            return y, None
        if kind.endswith("multioutput"):
            raise ValueError(
                f"y has the shape {y.shape} and values other than two: needed one class a row, (n,), or a column of 0 "
                "and 1 for each label"
            )
        classes, places = np.unique(y, return_inverse=True)
        return places, classes

    def _named(
        self, classes: NDArray[Any] | None, n_labels: int | None
    ) -> tuple[NDArray[np.float64] | None, tuple[str, ...] | None]:
        if classes is None:
            self.classes_ = np.arange(n_labels or 0)
            return None, None
        if len(classes) > 2 and not self._several:
            raise ValueError("Only binary classification is supported. The type of the target is multiclass.")
        if len(classes) < 2:
            raise ValueError(f"y has one class only ({classes[0]}); needed at least 2 classes to tell apart")
        self.classes_ = classes
        if classes.dtype.kind in "biuf":
            return classes.astype(np.float64), None
        return np.arange(len(classes), dtype=np.float64), tuple(map(str, classes))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = self._several
        tags.classifier_tags.multi_label = self._multi_label
        return tags


@dataclass(kw_only=True, eq=False, repr=False)
class Probabilistic(Classifier):
    """A classifier that knows probabilities, by the logistic loss.

    Where y is (n, L) of 0 and 1, dense or sparse, a row has any number of L labels: each is fitted as two classes, all
    in the same passes, with the same ``alpha``. A label that every row has, or none, is predicted by the constant
    probability (P + ½)/(S + 1), P being the weight of the rows that have it, and S that of all.

    Parameters
    ----------
    multi_class : {"softmax", "one-vs-rest"}
        What is fitted to more than two classes: log Σ_c exp(z_c) − z_y, or Σ_c [log(1 + exp(z_c)) − y_c z_c].
    """

    multi_class: str = "softmax"

    _multi_label: ClassVar[bool] = True

    def _loss(self) -> tuple[str, Mapping[str, Option]]:
        return "logistic", {}

    def _recipe(self) -> Recipe:
        return replace(super()._recipe(), multi_class=self.multi_class)

    def predict_proba(self, X: Rows, offset: ArrayLike | None = None) -> NDArray[np.float64]:
        """(n, K) probabilities of ``classes_``; each row sums to 1, but for labels, each of which is there or not."""
        z = self._raw(X, offset)
        return self.model_.probabilities(z)

    def predict_log_proba(self, X: Rows, offset: ArrayLike | None = None) -> NDArray[np.float64]:
        """(n, K) their logarithms, from z itself: finite where a probability is too small for a number."""
        z = self._raw(X, offset)
        return self.model_.log_probabilities(z)


class LinearClassifier(Classifier, LinearEstimator):
    """A classifier whose raw predictions are linear.

    Attributes
    ----------
    coef_ : array (1, n_features) for two classes, else (K, n_features);  intercept_ : array (1,) or (K,)
    """

    @property
    def intercept_(self) -> NDArray[np.float64]:
        """b, one number a row of ``coef_``."""
        return np.atleast_1d(self.model_.intercept)

    def _shaped(self, coef: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.atleast_2d(coef)


@dataclass(kw_only=True, eq=False, repr=False)
class LogisticRegression(Probabilistic, LinearClassifier, OnePenalty):
    """Logistic regression: log(1 + eᶻ) − y z of two classes; of more the softmax, or one against the rest.

    :class:`Probabilistic` says what ``multi_class`` is, and how labels are fitted.
    """


@dataclass(kw_only=True, eq=False, repr=False)
class LinearSVC(LinearClassifier, OnePenalty):
    """Linear support vectors of two classes: max(0, 1 − t z) with t = ±1, or its square.

    The hinge has a kink; it is approached by smooth ones, and the fit's ``gap_bound`` counts what is left of it.

    Parameters
    ----------
    loss : {"hinge", "squared_hinge"}
    """

    loss: str = "squared_hinge"

    _several: ClassVar[bool] = False

    def _loss(self) -> tuple[str, Mapping[str, Option]]:
        if self.loss not in ("hinge", "squared_hinge"):
            raise SpecError(f"loss is {self.loss!r}; needed 'hinge' or 'squared_hinge'")
        return self.loss.replace("_", "-"), {}
