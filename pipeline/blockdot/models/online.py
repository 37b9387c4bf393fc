"""Online learning as estimators: linear models, one batch of rows after another.

    SGDClassifier, SGDRegressor      losses by scikit-learn's names, update rules of solvers/updates.py

They end in the same models as the other estimators. ``alpha`` is on the scale of the mean loss, as everywhere; 0 by
default, because one pass over many rows hardly overfits. What differs from scikit-learn's classes of these names: the
default optimizer is FTRL-proximal, at a rate that needs no tuning for features of about the size 1; steps are made by
batches; and one pass over the rows is the default where there are 10,000 or more, as online learners expect.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags
from sklearn.utils.metaestimators import available_if

from blockdot.blocks.dataset import Dataset
from blockdot.blocks.tree import Pool
from blockdot.errors import DataError, SpecError
from blockdot.ingest.stream import Stream
from blockdot.models.classifiers import LinearClassifier, Probabilistic
from blockdot.models.estimator import Estimator, LinearEstimator, Rows
from blockdot.models.journal import Journal
from blockdot.models.kinds import Option
from blockdot.models.knowledge import Knowledge, fit_online, learn_more
from blockdot.models.learning import Online
from blockdot.models.recipe import ONLINE, Recipe
from blockdot.models.regressors import Regressor
from blockdot.models.streaming import learn_from
from blockdot.solvers import Result, Status

Labels = Callable[[Dataset | Stream], tuple[float, ...] | None]
_SCHEDULES = {"constant": "constant", "invscaling": "inverse-scaling", "cosine": "cosine"}


@dataclass(kw_only=True, eq=False, repr=False)
class OnlineModel(Estimator):
    """The parameters of all that learn batch by batch.

    Parameters
    ----------
    alpha, l1_ratio : float
        Strength α ≥ 0 of the penalty α [ρ Σ p|w| + (1−ρ)/2 Σ p w²], on the scale of the mean loss, and ρ. An L1 part,
        ρ > 0, needs "ftrl".
    learning_rate : {"constant", "invscaling", "cosine"}
        How the rate goes on from ``eta0``: stays, falls as η/t^``power_t``, or falls to 0 at the end.
    eta0 : float or None
        η; None for 0.1 of "ftrl" and "sgd", 0.07 of "adagrad", 0.005 of "adam" and "adamw". Where the loss is in the
        units of y, all but "sgd" take it times the standard deviation of y.
    power_t : float
    warmup : int
        Steps in which the rate rises from 0.
    momentum : float;  nesterov : bool
        Of "sgd".
    clip, clip_norm : float or None
        Limits of each number of a batch's gradient, and of its norm.
    batch_size : int or None
        Rows a step; None for n/2000, at least 8 and at most 128 (of a stream 256): one step for each row (1) learns
        little more a pass.
    max_iter : int or None
        Epochs; None for one, and for fewer than 10,000 rows for as many as make 10,000.
    shuffle : bool
        Whether rows are learnt from in a random order, another one each epoch, or in theirs.
    average : bool or int
        Whether the model is the mean over all steps; a number: over those that follow so many.
    mode : {"sequential", "synchronous", "averaged"}
        How steps are made: one after another in this process; each on all threads or workers, of a slice of every
        block; or by every block for itself, averaged at the end of an epoch (blockdot.models.stochastic).
    early_stopping : bool
        Whether to stop when rows that are held out get no better by ``tol`` in ``n_iter_no_change`` epochs; the model
        is then the best of them.
    validation_fraction : float
        Share of the rows that are held out, by a hash of their identity.
    validation : Dataset or None
        Rows to stop by, instead.
    n_iter_no_change : int;  tol : float

    Attributes
    ----------
    loss_curve_ : list of the progressive loss of each epoch: of each row before it was learnt from
    validation_losses_ : list of the mean loss of the rows held out, after each epoch
    t_ : int, steps made
    """

    alpha: float = 0.0
    l1_ratio: float = 0.0
    learning_rate: str = "constant"
    eta0: float | None = None
    power_t: float = 0.5
    warmup: int = 0
    momentum: float = 0.0
    nesterov: bool = False
    clip: float | None = None
    clip_norm: float | None = None
    batch_size: int | None = None
    max_iter: int | None = None
    shuffle: bool = True
    average: bool | int = False
    mode: str = "sequential"
    early_stopping: bool = False
    validation_fraction: float = 0.1
    validation: Dataset | None = None
    n_iter_no_change: int = 5
    tol: float = 1e-4

    def _recipe(self) -> Recipe:
        return replace(
            super()._recipe(),
            alpha=self.alpha,
            l1_ratio=self.l1_ratio,
            solver=ONLINE,
            online=self._online(),
        )

    def _rule(self) -> str:
        """The name of the update rule."""
        raise NotImplementedError

    def _online(self) -> Online:
        if self.learning_rate not in _SCHEDULES:
            raise SpecError(f"learning_rate is {self.learning_rate!r}; needed one of {', '.join(_SCHEDULES)}")
        return Online(
            optimizer=self._rule(),
            rate=self.eta0,
            schedule=_SCHEDULES[self.learning_rate],
            power=self.power_t,
            warmup=self.warmup,
            momentum=self.momentum,
            nesterov=self.nesterov,
            clip=self.clip,
            clip_norm=self.clip_norm,
            batch_size=self.batch_size,
            epochs=self.max_iter,
            shuffle=self.shuffle,
            average=self.average,
            mode=self.mode,
            held_out=self.validation_fraction if self.early_stopping and self.validation is None else None,
            patience=self.n_iter_no_change,
            tol=self.tol,
        )

    def _fitted(self, data: Dataset, recipe: Recipe, pool: Pool, journal: Journal) -> Result[Any]:
        start = self.model_ if self.warm_start and hasattr(self, "model_") else None
        validation = self.validation if self.early_stopping else None
        self.model_, result, self._knowledge = fit_online(
            data, recipe, pool, start=start, validation=validation, journal=journal, callbacks=self.callbacks
        )
        history = result.state.history
        self.t_, self.loss_curve_ = result.state.point.t, [epoch.loss for epoch in history]
        self.validation_losses_ = [epoch.held_out for epoch in history if epoch.held_out is not None]
        return result

    def _fell_short(self, result: Result[Any]) -> bool:
        return result.status == Status.DIVERGED or (self.early_stopping and not result.converged)


@dataclass(kw_only=True, eq=False, repr=False)
class OnlineLinear(LinearEstimator, OnlineModel):
    """The parameters of linear models that learn online, beside those of :class:`OnlineModel`.

    Parameters
    ----------
    penalty_weights : array (n_features,) or None
        p.
    optimizer : {"ftrl", "adagrad", "sgd", "adam", "adamw"}
        The update rule.
    """

    penalty_weights: ArrayLike | None = None
    optimizer: str = "ftrl"

    def _recipe(self) -> Recipe:
        return replace(super()._recipe(), penalty_weights=self.penalty_weights)

    def _rule(self) -> str:
        return self.optimizer

    def _learn_more(
        self,
        X: Rows | Stream,
        y: ArrayLike | None,
        sample_weight: ArrayLike | None,
        offset: ArrayLike | None,
        labels: Labels,
    ) -> Self:
        known: Knowledge | None = getattr(self, "_knowledge", None)
        recipe = replace(self._recipe(), online=replace(self._online(), held_out=None))
        if isinstance(X, Stream):
            if not (y is None and sample_weight is None and offset is None):
                raise SpecError("a stream has its targets, weights and offsets: call partial_fit(stream) without them")
            self.model_, result, self._knowledge = learn_from(X, recipe, known, labels(X))
            self.n_features_in_ = self.model_.info.n_features
        else:
            result = self._learn_from_rows(X, y, sample_weight, offset, recipe, labels)
        before = self.loss_curve_ if known is not None else []
        self.t_, self.loss_curve_ = self._knowledge.steps, [*before, result.value]
        self.n_iter_ = len(self.loss_curve_)
        if self._fell_short(result) and not self.early_stopping:
            warnings.warn(f"{type(self).__name__}: {result.message}", ConvergenceWarning, stacklevel=3)
        return self

    def _learn_from_rows(
        self,
        X: Rows,
        y: ArrayLike | None,
        sample_weight: ArrayLike | None,
        offset: ArrayLike | None,
        recipe: Recipe,
        labels: Labels,
    ) -> Result[Any]:
        known: Knowledge | None = getattr(self, "_knowledge", None)
        with (
            self._pool() as pool,
            self._training_data(X, y, sample_weight, offset, pool, reset=known is None) as data,
        ):
            if known is not None and data.n_features != self.n_features_in_:
                raise DataError(f"these rows have {data.n_features} features; those before had {self.n_features_in_}")
            self.model_, result, self._knowledge = learn_more(data, recipe, pool, known, labels(data))
            self.n_features_in_ = data.n_features
        return result


def _knows_probabilities(estimator: SGDClassifier) -> bool:
    return estimator.loss == "log_loss"


@dataclass(kw_only=True, eq=False, repr=False)
class SGDClassifier(Probabilistic, LinearClassifier, OnlineLinear):
    """A linear classifier learnt online, batch by batch: logistic regression, or support vectors of two classes.

    Parameters
    ----------
    loss : {"log_loss", "hinge", "squared_hinge"}
        The hinge has its corner rounded over 0.01.

    Examples
    --------
    >>> import blockdot as bd                                                       # doctest: +SKIP
    >>> est = bd.SGDClassifier().fit(train)                                         # doctest: +SKIP
    >>> for X, y in stream: est.partial_fit(X, y, classes=[0, 1])                   # doctest: +SKIP
    """

    loss: str = "log_loss"

    @property
    def _several(self) -> bool:  # type: ignore[override]
        return self.loss == "log_loss"

    @property
    def _multi_label(self) -> bool:  # type: ignore[override]
        return self.loss == "log_loss"

    def _loss(self) -> tuple[str, Mapping[str, Option]]:
        names = {"log_loss": "logistic", "hinge": "hinge", "squared_hinge": "squared-hinge"}
        if self.loss not in names:
            raise SpecError(f"loss is {self.loss!r}; needed one of {', '.join(names)}")
        return names[self.loss], {}

    def partial_fit(
        self,
        X: Rows | Stream,
        y: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        offset: ArrayLike | None = None,
    ) -> Self:
        """Learn from these rows, once, and go on from what was learnt before; of a stream, while it is read.

        ``classes`` are those of all rows to come; the first call needs them where its own rows lack one. Features that
        no row had before get weights now. A weight of 1 counts as a row; "balanced" class weights are those of a fit.
        """
        if self.class_weight == "balanced":
            raise ValueError("class_weight 'balanced' needs all rows: hand in weights for the classes, or fit once")
        wanted: NDArray[Any] | None = self.classes_ if hasattr(self, "_knowledge") else None
        if classes is not None:
            wanted = np.unique(np.asarray(classes))
            if hasattr(self, "_knowledge") and not np.array_equal(wanted, self.classes_):
                raise ValueError(f"classes={wanted} are others than those of the first call, {self.classes_}")
        self._expected = wanted
        try:
            self._learn_more(X, y, sample_weight, offset, self._labels)
        finally:
            del self._expected
        if isinstance(X, (Dataset, Stream)):
            self.classes_ = self.model_.class_labels
        return self

    def _labels(self, data: Dataset | Stream) -> tuple[float, ...] | None:
        """The labels, in the store, of all rows to come."""
        if isinstance(data, Stream):
            if self._expected is None and data.classes is None:
                raise SpecError("rows are not read yet: say their classes, as in partial_fit(stream, classes=[0, 1])")
            if self._expected is None:
                return tuple(float(i) for i in range(len(data.classes or ())))
        elif self._expected is None or data.n_labels is not None:
            return data.labels
        if self._expected.dtype.kind in "biuf":
            return tuple(self._expected.astype(np.float64).tolist())
        if data.classes is not None and tuple(map(str, self._expected)) != data.classes:
            raise DataError(f"the classes of these rows are {data.classes}; needed {tuple(self._expected)}")
        return tuple(float(i) for i in range(len(self._expected)))

    def _named(
        self, classes: NDArray[Any] | None, n_labels: int | None
    ) -> tuple[NDArray[np.float64] | None, tuple[str, ...] | None]:
        expected = getattr(self, "_expected", None)
        if expected is None or classes is None:
            return super()._named(classes, n_labels)
        strange = np.setdiff1d(classes, expected)
        if strange.size:
            raise ValueError(f"y has the class {strange[0]}; the classes are {expected}")
        super()._named(expected, n_labels)
        if expected.dtype.kind in "biuf":
            return classes.astype(np.float64), None
        return np.searchsorted(expected, classes).astype(np.float64), tuple(map(str, expected))

    @available_if(_knows_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Rows, offset: ArrayLike | None = None) -> NDArray[np.float64]:
        """(n, K) probabilities of ``classes_``, for "log_loss"."""
        return super().predict_proba(X, offset)

    @available_if(_knows_probabilities)  # type: ignore[untyped-decorator]
    def predict_log_proba(self, X: Rows, offset: ArrayLike | None = None) -> NDArray[np.float64]:
        """(n, K) their logarithms, for "log_loss"."""
        return super().predict_log_proba(X, offset)


@dataclass(kw_only=True, eq=False, repr=False)
class SGDRegressor(Regressor, OnlineLinear):
    """A linear regression learnt online, batch by batch.

    Learning begins at the mean of y, of the first rows where they come by ``partial_fit``.

    Parameters
    ----------
    loss : str
        "squared_error", "huber", "epsilon_insensitive", "squared_epsilon_insensitive", "quantile", "poisson", "gamma".
        Those with a kink have it rounded over 0.01, in the units of y.
    epsilon : float
        δ of "huber", ε of the insensitive losses, in the units of y.
    quantile : float
        τ of "quantile".
    """

    loss: str = "squared_error"
    epsilon: float = 0.1
    quantile: float = 0.5

    def _loss(self) -> tuple[str, Mapping[str, Option]]:
        losses: dict[str, tuple[str, dict[str, Option]]] = {
            "squared_error": ("squared", {}),
            "huber": ("huber", {"delta": self.epsilon}),
            "epsilon_insensitive": ("epsilon-insensitive", {"epsilon": self.epsilon}),
            "squared_epsilon_insensitive": ("squared-epsilon-insensitive", {"epsilon": self.epsilon}),
            "quantile": ("quantile", {"quantile": self.quantile}),
            "poisson": ("poisson", {"link": "log"}),
            "gamma": ("gamma", {"link": "log"}),
        }
        if self.loss not in losses:
            raise SpecError(f"loss is {self.loss!r}; needed one of {', '.join(losses)}")
        return losses[self.loss]

    def partial_fit(
        self,
        X: Rows | Stream,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        offset: ArrayLike | None = None,
    ) -> Self:
        """Learn from these rows, once, and go on from what was learnt before; of a stream, while it is read.

        Features that no row had before get weights now. A weight of 1 counts as a row.
        """
        return self._learn_more(X, y, sample_weight, offset, lambda _: None)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = self.loss in ("poisson", "gamma")
        return tags
