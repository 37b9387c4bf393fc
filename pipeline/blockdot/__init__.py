"""blockdot: learning from large sparse data by sums of inner products over row blocks.

    import blockdot as bd

    ds = bd.ingest(["day*.svm.gz"], out="train.blocks", format="svmlight")
    est = bd.LogisticRegression(alpha=1e-6).fit(ds)
    est.model_.save("model/")

Names are loaded when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blockdot.blocks.dask import DaskPool as DaskPool
    from blockdot.blocks.dataset import Dataset as Dataset
    from blockdot.blocks.sums import Blocks as Blocks
    from blockdot.blocks.threads import ThreadPool as ThreadPool
    from blockdot.errors import BlockdotError as BlockdotError
    from blockdot.ingest.build import ingest as ingest
    from blockdot.ingest.spec import FeaturesSpec as FeaturesSpec
    from blockdot.ingest.spec import Split as Split
    from blockdot.ingest.stream import stream as stream
    from blockdot.linalg.matrix import BlockMatrix as BlockMatrix
    from blockdot.models.classifiers import LinearSVC as LinearSVC
    from blockdot.models.classifiers import LogisticRegression as LogisticRegression
    from blockdot.models.cross_validated import ElasticNetCV as ElasticNetCV
    from blockdot.models.cross_validated import LogisticRegressionCV as LogisticRegressionCV
    from blockdot.models.cross_validated import PoissonRegressorCV as PoissonRegressorCV
    from blockdot.models.cross_validated import TweedieRegressorCV as TweedieRegressorCV
    from blockdot.models.evaluate import evaluate as evaluate
    from blockdot.models.folds import HashedFolds as HashedFolds
    from blockdot.models.folds import TimeFolds as TimeFolds
    from blockdot.models.inference import infer as infer
    from blockdot.models.inference import likelihood_ratio_test as likelihood_ratio_test
    from blockdot.models.model import Model as Model
    from blockdot.models.model import load_model as load_model
    from blockdot.models.networks import MLPClassifier as MLPClassifier
    from blockdot.models.networks import MLPRegressor as MLPRegressor
    from blockdot.models.online import SGDClassifier as SGDClassifier
    from blockdot.models.online import SGDRegressor as SGDRegressor
    from blockdot.models.regressors import GammaRegressor as GammaRegressor
    from blockdot.models.regressors import GeneralizedLinearRegressor as GeneralizedLinearRegressor
    from blockdot.models.regressors import HuberRegressor as HuberRegressor
    from blockdot.models.regressors import LinearRegression as LinearRegression
    from blockdot.models.regressors import LinearSVR as LinearSVR
    from blockdot.models.regressors import PoissonRegressor as PoissonRegressor
    from blockdot.models.regressors import QuantileRegressor as QuantileRegressor
    from blockdot.models.regressors import TweedieRegressor as TweedieRegressor
    from blockdot.objective.binomial import Binomial as Binomial
    from blockdot.objective.curvature import FullNewton as FullNewton
    from blockdot.objective.curvature import GaussNewton as GaussNewton
    from blockdot.objective.families import Gamma as Gamma
    from blockdot.objective.families import Gaussian as Gaussian
    from blockdot.objective.families import InverseGaussian as InverseGaussian
    from blockdot.objective.families import Poisson as Poisson
    from blockdot.objective.families import Tweedie as Tweedie
    from blockdot.objective.losses import Logistic as Logistic
    from blockdot.objective.losses import Squared as Squared
    from blockdot.objective.multiclass import BinaryCrossEntropy as BinaryCrossEntropy
    from blockdot.objective.multiclass import Softmax as Softmax
    from blockdot.objective.network import Network as Network
    from blockdot.objective.objective import Objective as Objective
    from blockdot.objective.penalties import L2 as L2
    from blockdot.objective.penalties import ElasticNet as ElasticNet
    from blockdot.objective.penalties import GroupLasso as GroupLasso
    from blockdot.objective.penalties import Tikhonov as Tikhonov
    from blockdot.objective.predictors import Linear as Linear
    from blockdot.objective.robust import EpsilonInsensitive as EpsilonInsensitive
    from blockdot.objective.robust import Hinge as Hinge
    from blockdot.objective.robust import Huber as Huber
    from blockdot.objective.robust import Quantile as Quantile
    from blockdot.objective.robust import SquaredEpsilonInsensitive as SquaredEpsilonInsensitive
    from blockdot.objective.robust import SquaredHinge as SquaredHinge
    from blockdot.solvers import LBFGS as LBFGS
    from blockdot.solvers import OWLQN as OWLQN
    from blockdot.solvers import Backtracking as Backtracking
    from blockdot.solvers import GradientDescent as GradientDescent
    from blockdot.solvers import NewtonCG as NewtonCG
    from blockdot.solvers import NewtonCholesky as NewtonCholesky
    from blockdot.solvers import ProximalGradient as ProximalGradient
    from blockdot.solvers import ProximalNewton as ProximalNewton
    from blockdot.solvers import minimize as minimize

__version__ = "0.1.0"

_HOME = {
    "Dataset": "blocks.dataset",
    "Blocks": "blocks.sums",
    "ThreadPool": "blocks.threads",
    "DaskPool": "blocks.dask",
    "BlockdotError": "errors",
    "FeaturesSpec": "ingest.spec",
    "Split": "ingest.spec",
    "stream": "ingest.stream",
    "BlockMatrix": "linalg.matrix",
    "LinearSVC": "models.classifiers",
    "LogisticRegression": "models.classifiers",
    "MLPClassifier": "models.networks",
    "MLPRegressor": "models.networks",
    "SGDClassifier": "models.online",
    "SGDRegressor": "models.online",
    "GammaRegressor": "models.regressors",
    "HuberRegressor": "models.regressors",
    "LinearRegression": "models.regressors",
    "LinearSVR": "models.regressors",
    "PoissonRegressor": "models.regressors",
    "QuantileRegressor": "models.regressors",
    "TweedieRegressor": "models.regressors",
    "ElasticNetCV": "models.cross_validated",
    "LogisticRegressionCV": "models.cross_validated",
    "PoissonRegressorCV": "models.cross_validated",
    "TweedieRegressorCV": "models.cross_validated",
    "GeneralizedLinearRegressor": "models.regressors",
    "evaluate": "models.evaluate",
    "HashedFolds": "models.folds",
    "TimeFolds": "models.folds",
    "infer": "models.inference",
    "likelihood_ratio_test": "models.inference",
    "Model": "models.model",
    "load_model": "models.model",
    "Logistic": "objective.losses",
    "Squared": "objective.losses",
    "BinaryCrossEntropy": "objective.multiclass",
    "Softmax": "objective.multiclass",
    "Binomial": "objective.binomial",
    "Gamma": "objective.families",
    "Gaussian": "objective.families",
    "InverseGaussian": "objective.families",
    "Poisson": "objective.families",
    "Tweedie": "objective.families",
    "EpsilonInsensitive": "objective.robust",
    "Hinge": "objective.robust",
    "Huber": "objective.robust",
    "Quantile": "objective.robust",
    "SquaredEpsilonInsensitive": "objective.robust",
    "SquaredHinge": "objective.robust",
    "FullNewton": "objective.curvature",
    "GaussNewton": "objective.curvature",
    "Network": "objective.network",
    "Objective": "objective.objective",
    "L2": "objective.penalties",
    "ElasticNet": "objective.penalties",
    "GroupLasso": "objective.penalties",
    "Tikhonov": "objective.penalties",
    "Linear": "objective.predictors",
    "LBFGS": "solvers",
    "Backtracking": "solvers",
    "GradientDescent": "solvers",
    "NewtonCG": "solvers",
    "NewtonCholesky": "solvers",
    "OWLQN": "solvers",
    "ProximalGradient": "solvers",
    "ProximalNewton": "solvers",
    "minimize": "solvers",
}

__all__ = ["__version__", "ingest", *_HOME]

# The function `ingest` and the folder `ingest/` share a name. Python binds the folder to the name when it is first
# imported, and not again: so it is imported here (it is empty), and the function then takes the name for good.
import_module("blockdot.ingest")
if not TYPE_CHECKING:

    def ingest(*args: Any, **options: Any) -> Dataset:
        """Read raw files into a block store: ``blockdot.ingest.build.ingest``, which has the parameters, loaded now."""
        return import_module("blockdot.ingest.build").ingest(*args, **options)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'blockdot' has no attribute {name!r}")
    return getattr(import_module(f"blockdot.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
