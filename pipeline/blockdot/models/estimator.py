"""What the estimators share: scikit-learn's manners around one recipe; and the parameters of linear ones.

    minimise  (1/S) Σ s ℓ(y, x·w + b + o) + α [ ρ Σ p|w| + (1−ρ)/2 Σ p w² ],     b not penalised

``alpha`` is α; scikit-learn's ``C`` is 1/(α S), its Ridge's ``alpha`` is α S. Constructors store their arguments and
nothing else (they are dataclasses); learnt things end in an underscore.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from numbers import Integral
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted

from blockdot.blocks.dataset import Dataset
from blockdot.blocks.numerics import require_agreement
from blockdot.blocks.threads import ThreadPool
from blockdot.blocks.tree import Pool
from blockdot.errors import SpecError
from blockdot.ingest.collections import gathered, is_lazy
from blockdot.models.evaluate import evaluate
from blockdot.models.fit import fit
from blockdot.models.intake import rows_of, taken_in, validated
from blockdot.models.journal import Callback, Journal
from blockdot.models.kinds import Option
from blockdot.models.model import Model
from blockdot.models.recipe import OfFeatures, Recipe
from blockdot.solvers import Result

Matrix = sp.sparray | sp.spmatrix | ArrayLike
Rows = Dataset | Matrix


@dataclass(kw_only=True, eq=False, repr=False)
class Estimator(BaseEstimator):  # type: ignore[misc]
    """What all estimators share.

    Parameters
    ----------
    warm_start : bool
        Whether ``fit`` starts from the last fit.
    random_state : int, RandomState or None
        A seed, for what is random in a solver; None is 0: results depend on the data and the parameters alone.
    n_jobs : int or None
        Threads; None and −1 mean all cores that this process may use. The result has the same bits for any number.
    client : distributed.Client or None
        A Dask cluster to work on instead.
    checkpoint : path or None
        A directory to keep the state of the fit in. A fit that was interrupted goes on from there to the same bits when
        the same data are fitted with the same parameters; the files go when a fit has ended.
    callbacks : sequence of callables
        Called with the solver's state after each iteration; one that returns True stops the fit.
    """

    warm_start: bool = False
    random_state: Any = None
    n_jobs: int | None = None
    client: object | None = None
    checkpoint: str | Path | None = None
    callbacks: Sequence[Callback] = ()
    model_: Model = field(init=False)  # learnt: a field for type checkers, no parameter

    _numeric: ClassVar[bool] = True
    """Whether y holds numbers (and not classes)."""
    _multi_label: ClassVar[bool] = False
    """Whether y can have a column for each label."""

    def _loss(self) -> tuple[str, Mapping[str, Option]]:
        """The name of the loss, and its options."""
        raise NotImplementedError

    def _recipe(self) -> Recipe:
        loss, options = self._loss()
        return Recipe(loss, options, random_state=self._seed())

    def _seed(self) -> int:
        """The seed that ``random_state`` says."""
        if self.random_state is None or isinstance(self.random_state, Integral):
            return int(self.random_state or 0)
        return int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))

    def fit(
        self,
        X: Rows,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        offset: ArrayLike | None = None,
    ) -> Self:
        """Fit to a Dataset (which holds y, weights and offsets), or to a matrix (n, d) with y, weights, offsets (n,).

        The matrix may be dense or sparse of any format, a pandas, polars or Dask frame, or a Dask array; of a frame y,
        weights and offsets may be the names of columns, which are then no features. An offset is added to the raw
        prediction of its row: for counts, the logarithm of the exposure.

        A Dask collection is taken in chunk by chunk into a temporary store, with the bits of the same rows in one
        array; memory is that of a chunk and of two blocks. With ``client`` its workers do that, where they see the
        folder of temporary files (TMPDIR). What goes with the rows comes with their chunks if it has the same ones; if
        not, it is computed whole first: 8 bytes a row.
        """
        recipe = self._recipe()
        with (
            self._pool() as pool,
            self._training_data(X, y, sample_weight, offset, pool) as data,
            Journal(self.checkpoint) as journal,
        ):
            require_agreement(pool, strict=False)
            result = self._fitted(data, recipe, pool, journal)
            self.n_features_in_ = data.n_features
            if isinstance(X, Dataset) and hasattr(self, "feature_names_in_"):
                del self.feature_names_in_  # those of an earlier fit, to a frame
        self.n_iter_ = result.iterations
        if self._fell_short(result):
            warnings.warn(f"{type(self).__name__}: {result.message}", ConvergenceWarning, stacklevel=2)
        return self

    def _fitted(self, data: Dataset, recipe: Recipe, pool: Pool, journal: Journal) -> Result[Any]:
        """Set ``model_``, and say how its fit ended."""
        raise NotImplementedError

    def _fell_short(self, result: Result[Any]) -> bool:
        """Whether the fit ended before it was done."""
        return not result.converged

    def _raw(self, X: Rows, offset: ArrayLike | None = None) -> NDArray[np.float64]:
        """z as an array of this process, of a Dask collection, too.

        It is what scikit-learn's metrics and searches take, has the bits of the same rows in one array, and is small
        beside X. A lazy prediction is one line: ``X.map_blocks(est.model_.predict, drop_axis=1, dtype=float)``.
        """
        check_is_fitted(self)
        if isinstance(X, (str, Path)):
            raise SpecError(f"{X!r} is a path; model_.predict and model_.predict_proba read raw files")
        if is_lazy(X):
            with self._pool() as pool, rows_of(self, pool, X, offset) as rows:
                return self.model_.raw(rows, pool)
        if not isinstance(X, Dataset):
            (offset,) = gathered(offset, client=self.client)
            X = validated(self, X, reset=False)
        with self._pool() as pool:
            return self.model_.raw(X, pool, offset)

    def _metric(self, name: str, X: Dataset) -> float:
        check_is_fitted(self)
        with self._pool() as pool:
            value = evaluate(self.model_, X, pool)[name]
        return float("nan") if value is None else value

    @contextmanager
    def _training_data(
        self,
        X: Rows,
        y: ArrayLike | None,
        sample_weight: ArrayLike | None,
        offset: ArrayLike | None,
        pool: Pool,
        *,
        reset: bool = True,
    ) -> Iterator[Dataset]:
        if isinstance(X, Dataset):
            yield held(X, y, sample_weight, offset)
            return
        if isinstance(X, (str, Path)):
            raise SpecError(
                f"{X!r} is a path; make a Dataset of it first: bd.ingest(path, out=...), or bd.Dataset.open"
            )
        with taken_in(self, pool, X, y, sample_weight, offset, reset=reset) as data:
            yield data

    def _numbered(self, y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """The targets of some rows as numbers: of classes, their places among those that occur, and these."""
        return y, None

    def _named(
        self,
        classes: NDArray[Any] | None,  # noqa: ARG002
        n_labels: int | None,  # noqa: ARG002
    ) -> tuple[NDArray[np.float64] | None, tuple[str, ...] | None]:
        """Settle the classes of all rows: the number that stands for each in y, and their names if they are text."""
        return None, None

    @contextmanager
    def _pool(self) -> Iterator[Pool]:
        if self.client is not None:
            from blockdot.blocks.dask import DaskPool

            with DaskPool(self.client) as pool:
                yield pool
        else:
            yield ThreadPool(None if self.n_jobs in (None, -1) else self.n_jobs)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def held(data: Dataset, *given: ArrayLike | None) -> Dataset:
    """The data set; SpecError where y, sample_weight or offset are given beside it."""
    if any(part is not None for part in given):
        raise SpecError(
            "a Dataset holds its targets, weights and offsets: call fit(dataset) or score(dataset) without y, "
            "sample_weight and offset"
        )
    return data


@dataclass(kw_only=True, eq=False, repr=False)
class LinearEstimator(Estimator):
    """What all linear models share: coefficients, one a feature.

    Parameters
    ----------
    fit_intercept : bool
        Whether there is a b.
    """

    fit_intercept: bool = True

    def _recipe(self) -> Recipe:
        return replace(super()._recipe(), fit_intercept=self.fit_intercept)

    @property
    def coef_(self) -> Any:
        """w, (n_features,) or (K, n_features); 0 where a feature did not occur. Sparse after ``sparsify``."""
        if getattr(self, "_is_sparse", False):
            return self.model_.sparse_coef()
        return self._shaped(self.model_.dense_coef())

    @property
    def intercept_(self) -> Any:
        """b."""
        return self.model_.intercept

    def _shaped(self, coef: NDArray[np.float64]) -> NDArray[np.float64]:
        return coef

    def sparsify(self) -> Self:
        """Give ``coef_`` as a sparse array from now on."""
        check_is_fitted(self)
        self._is_sparse = True
        return self

    def densify(self) -> Self:
        """Give ``coef_`` as a dense array again."""
        check_is_fitted(self)
        self._is_sparse = False
        return self

    def named_coef(self) -> dict[Any, Any]:
        """The coefficients that are not 0 by the name of their feature, or its number where it has none.

        Names are those of the columns of a frame, or what a store was made of: "distance", "carrier=UA", "hash:7".
        """
        check_is_fitted(self)
        model, names = self.model_, getattr(self, "feature_names_in_", None)
        kept = np.any(model.coef.reshape(len(model.ids), model.outputs or 1) != 0.0, axis=1)
        ids = model.ids[kept]
        called = model.feature_names(ids) if names is None else [str(names[i]) for i in ids]
        return dict(zip(called, model.coef[kept].tolist(), strict=True))


@dataclass(kw_only=True, eq=False, repr=False)
class LinearModel(LinearEstimator):
    """The parameters of every linear model that is fitted by minimising.

    Parameters
    ----------
    l1_ratio : float
        ρ in [0, 1]: 0 is L2 (ridge), 1 is L1 (lasso), between them the elastic net.
    penalty_weights : array (n_features,), mapping or None
        p, a factor of each feature's penalty; 0 leaves a feature unpenalised. A mapping {feature: p} has those of some
        features by their numbers, 1 for the others: no array of the width of a hashed space is needed.
    lower, upper : float, array (n_features,), mapping or None
        Bounds of the coefficients; ``lower=0`` is non-negativity.
    groups : array (n_features,) of int or None
        Which group a feature belongs to: a group lasso, α [ρ Σ_G √|G| ‖w_G‖ + (1−ρ)/2 ‖w‖²].
    standardize : bool
        Whether the penalty sees features scaled to standard deviation 1. Sparse data stay sparse, and the coefficients
        are those of the data as they are.
    solver : str
        "auto" chooses by the penalty and the data, and logs what and why; or "newton-cg", "newton-cholesky", "lbfgs",
        "gradient-descent" for smooth penalties, "proximal-newton", "owl-qn", "proximal-gradient" for all.
    tol : float
        Stop when the norm of the gradient (of its least subgradient) is below ``tol`` times its norm at the start.
    max_iter : int
        Most iterations, of each of the easier problems that lead to one with an L1 penalty or a kink in its loss; a fit
        that ends there warns.
    """

    l1_ratio: float = 0.0
    penalty_weights: OfFeatures = None
    lower: OfFeatures = None
    upper: OfFeatures = None
    groups: ArrayLike | None = None
    standardize: bool = False
    solver: str = "auto"
    tol: float = 1e-6
    max_iter: int = 100

    def _recipe(self) -> Recipe:
        return replace(
            super()._recipe(),
            l1_ratio=self.l1_ratio,
            penalty_weights=self.penalty_weights,
            lower=self.lower,
            upper=self.upper,
            groups=self.groups,
            standardize=self.standardize,
            solver=self.solver,
            tol=self.tol,
            max_iter=self.max_iter,
        )


@dataclass(kw_only=True, eq=False, repr=False)
class OnePenalty(LinearModel):
    """A model with a penalty whose strength is given.

    Parameters
    ----------
    alpha : float
        Strength of the penalty, at least 0, on the scale of the mean loss.
    """

    alpha: float = 1e-6

    def _recipe(self) -> Recipe:
        return replace(super()._recipe(), alpha=self.alpha)

    def _fitted(self, data: Dataset, recipe: Recipe, pool: Pool, journal: Journal) -> Result[Any]:
        start = self.model_ if self.warm_start and hasattr(self, "model_") else None
        self.model_, result = fit(data, recipe, pool, start=start, journal=journal, callbacks=self.callbacks)
        return result
