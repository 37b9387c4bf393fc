"""What the linear estimators share: penalties and solvers, and coefficients by feature.

    minimise  (1/S) Σ s ℓ(y, x·w + b + o) + α [ ρ Σ p|w| + (1−ρ)/2 Σ p w² ],     b not penalised

``alpha`` is α; scikit-learn's ``C`` is 1/(α S), its Ridge's ``alpha`` is α S.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from blockdot.blocks.dataset import Dataset
from blockdot.blocks.tree import Pool
from blockdot.models.estimator import Estimator
from blockdot.models.fit import fit
from blockdot.models.journal import Journal
from blockdot.models.kinds import Option
from blockdot.models.recipe import Recipe
from blockdot.solvers import Result


@dataclass(kw_only=True, eq=False, repr=False)
class LinearModel(Estimator):
    """The parameters of every linear estimator, beside those of :class:`blockdot.models.estimator.Estimator`.

    Parameters
    ----------
    l1_ratio : float
        ρ in [0, 1]: 0 is L2 (ridge), 1 is L1 (lasso), between them the elastic net.
    penalty_weights : array (n_features,) or None
        p, a factor of each feature's penalty; 0 leaves a feature unpenalised.
    lower, upper : float, array (n_features,) or None
        Bounds of the coefficients; ``lower=0`` is non-negativity.
    groups : array (n_features,) of int or None
        Which group a feature belongs to: a group lasso, α [ρ Σ_G √|G| ‖w_G‖ + (1−ρ)/2 ‖w‖²].
    fit_intercept : bool
        Whether there is a b.
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
    penalty_weights: ArrayLike | None = None
    lower: ArrayLike | None = None
    upper: ArrayLike | None = None
    groups: ArrayLike | None = None
    fit_intercept: bool = True
    standardize: bool = False
    solver: str = "auto"
    tol: float = 1e-6
    max_iter: int = 100

    def _loss(self) -> tuple[str, Mapping[str, Option]]:
        """The name of the loss, and its options."""
        raise NotImplementedError

    def _recipe(self) -> Recipe:
        loss, options = self._loss()
        return Recipe(
            loss,
            options,
            l1_ratio=self.l1_ratio,
            penalty_weights=self.penalty_weights,
            lower=self.lower,
            upper=self.upper,
            groups=self.groups,
            fit_intercept=self.fit_intercept,
            standardize=self.standardize,
            solver=self.solver,
            tol=self.tol,
            max_iter=self.max_iter,
        )

    @property
    def coef_(self) -> Any:
        """w, (n_features,) or (K, n_features); 0 where a feature did not occur. Sparse after ``sparsify``."""
        coef = self._shaped(self.model_.dense_coef())
        return sp.csr_array(np.atleast_2d(coef)) if getattr(self, "_is_sparse", False) else coef

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
        """The coefficients that are not 0 by the name of their feature, or its number where it has none."""
        check_is_fitted(self)
        model, names = self.model_, getattr(self, "feature_names_in_", None)
        kept = np.any(model.coef.reshape(len(model.ids), -1) != 0.0, axis=1)
        pairs = zip(model.ids[kept].tolist(), model.coef[kept].tolist(), strict=True)
        return {i if names is None else str(names[i]): value for i, value in pairs}


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
