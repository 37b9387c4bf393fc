"""Networks as estimators: the first layer reads sparse rows as they are, and only features that occur have weights.

    MLPClassifier    the logistic loss of two classes, the softmax of more, one logistic loss for each of any labels
    MLPRegressor     ½ (y − z)², or half the unit deviance of a Poisson or gamma variable

They end in the same models as the other estimators, and learn batch by batch, or by the solvers of linear models from
full gradients and products with the Hessian. scikit-learn's ``alpha`` is divided by the number of rows; here it is on
the scale of the mean loss, as everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from blockdot.blocks.dataset import Dataset
from blockdot.blocks.tree import Pool
from blockdot.errors import SpecError
from blockdot.models.architecture import Architecture
from blockdot.models.classifiers import Probabilistic
from blockdot.models.fit import fit
from blockdot.models.journal import Journal
from blockdot.models.kinds import Option
from blockdot.models.learning import RATES
from blockdot.models.online import OnlineModel
from blockdot.models.recipe import ONLINE, Recipe
from blockdot.models.regressors import Regressor
from blockdot.objective.network import Network
from blockdot.solvers import Result

_FULL = ("lbfgs", "newton-cg", "gauss-newton", "gradient-descent", "owl-qn", "proximal-gradient")
_ITERATIONS = 200


@dataclass(kw_only=True, eq=False, repr=False)
class NetworkModel(OnlineModel):
    """The parameters of both, beside those of :class:`blockdot.models.online.OnlineModel`.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        How many units each hidden layer has.
    activation : {"identity", "relu", "tanh", "sigmoid", "softplus", "gelu"}
        What the hidden units do.
    alpha, l1_ratio : float
        Strength α of the penalty α [ρ ‖w‖₁ + (1−ρ)/2 ‖w‖²] on all weights, and ρ. An L1 part, ρ > 0, needs "ftrl",
        "owl-qn" or "proximal-gradient".
    dropout : float
        Share of the hidden units that are left out of each row in learning, batch by batch.
    solver : str
        Batch by batch "adam", "adamw", "adagrad", "sgd", "ftrl"; or from all rows at once "lbfgs", "gradient-descent",
        "newton-cg" (products with the Hessian), "gauss-newton" (with the Gauss–Newton matrix), "owl-qn",
        "proximal-gradient": these stop by ``tol`` as linear models do, and know nothing of rates, batches and dropout.
    max_iter : int or None
        Epochs; of the other solvers iterations, 200 by default.

    Attributes
    ----------
    coefs_ : list of arrays (n_features, H₁), (H₁, H₂), …;  intercepts_ : list of arrays (H₁,), (H₂,), …
    """

    hidden_layer_sizes: int | Sequence[int] = (100,)
    activation: str = "relu"
    alpha: float = 1e-6
    dropout: float = 0.0
    solver: str = "adam"

    def _rule(self) -> str:
        return self.solver

    def _recipe(self) -> Recipe:
        sizes = self.hidden_layer_sizes
        hidden = (int(sizes),) if isinstance(sizes, Integral) else tuple(sizes)  # type: ignore[arg-type]
        network = Architecture.of(hidden, self.activation)
        if self.solver in RATES:
            recipe = super()._recipe()
            return replace(recipe, network=network, online=replace(recipe.online, dropout=self.dropout))
        return replace(self._full(), network=network, solver=self.solver)

    def _full(self) -> Recipe:
        """What to fit from all rows at once."""
        if self.solver not in _FULL:
            raise SpecError(f"solver is {self.solver!r}; needed one of {', '.join((*RATES, *_FULL))}")
        of_batches = {"early_stopping": self.early_stopping, "dropout": self.dropout, "average": self.average}
        for name in (name for name, is_there in of_batches.items() if is_there):
            raise SpecError(f"{name} goes with a solver that learns batch by batch, not with {self.solver!r}")
        recipe = super(OnlineModel, self)._recipe()
        iterations = _ITERATIONS if self.max_iter is None else self.max_iter
        return replace(recipe, alpha=self.alpha, l1_ratio=self.l1_ratio, tol=self.tol, max_iter=iterations)

    def _fitted(self, data: Dataset, recipe: Recipe, pool: Pool, journal: Journal) -> Result[Any]:
        if recipe.solver == ONLINE:
            return super()._fitted(data, recipe, pool, journal)
        start = self.model_ if self.warm_start and hasattr(self, "model_") else None
        self.model_, result = fit(data, recipe, pool, start=start, journal=journal, callbacks=self.callbacks)
        self.loss_curve_ = [point.value for point in result.trace]
        return result

    def _fell_short(self, result: Result[Any]) -> bool:
        return super()._fell_short(result) if self.solver in RATES else not result.converged

    @property
    def coefs_(self) -> list[NDArray[np.float64]]:
        """The weights of each layer, inputs × units; 0 where a feature did not occur."""
        check_is_fitted(self)
        first = np.ascontiguousarray(self.model_.dense_coef().T)
        return [first, *(np.copy(W) for W in self._layers().weights[1:])]

    @property
    def intercepts_(self) -> list[NDArray[np.float64]]:
        """The biases of each layer."""
        check_is_fitted(self)
        return [np.copy(b) for b in self._layers().biases]

    def _layers(self) -> Any:
        network, model = self.model_.predictor, self.model_
        assert isinstance(network, Network)
        return network.split(np.concatenate([model.coef.ravel(), model.tail]))


@dataclass(kw_only=True, eq=False, repr=False)
class MLPClassifier(Probabilistic, NetworkModel):
    """A network that tells classes, or any number of labels of a row.

    Examples
    --------
    >>> import blockdot as bd                                                       # doctest: +SKIP
    >>> est = bd.MLPClassifier(hidden_layer_sizes=(64,)).fit(X_sparse, y)           # doctest: +SKIP
    """


@dataclass(kw_only=True, eq=False, repr=False)
class MLPRegressor(Regressor, NetworkModel):
    """A network that predicts a number.

    Parameters
    ----------
    loss : {"squared_error", "poisson", "gamma"}
        The last two predict exp(z), of counts y ≥ 0 and of amounts y > 0.
    """

    loss: str = "squared_error"

    def _loss(self) -> tuple[str, Mapping[str, Option]]:
        losses: dict[str, tuple[str, dict[str, Option]]] = {
            "squared_error": ("squared", {}),
            "poisson": ("poisson", {"link": "log"}),
            "gamma": ("gamma", {"link": "log"}),
        }
        if self.loss not in losses:
            raise SpecError(f"loss is {self.loss!r}; needed one of {', '.join(losses)}")
        return losses[self.loss]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = self.loss != "squared_error"
        return tags
