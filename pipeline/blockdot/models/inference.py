"""Standard errors, tests and intervals of a fitted model, and what the fit explains.

    V = φ H⁻¹ J H⁻¹,      J = Σ s (μ')²/Var(μ) x xᵀ  (Fisher's information),     H = J + S α 1   (α 1 of the penalty)
    robust      J/φ is replaced by Σ s² (∂ℓ/∂z)² x xᵀ       (sandwich: White, Econometrica 48 (1980); Huber 1967)
    clustered   by Σ_g u_g u_gᵀ,  u_g = Σ_{i in g} sᵢ ∂ℓ/∂z xᵢ   (Liang & Zeger, Biometrika 73 (1986))

Without a penalty V is the usual φ J⁻¹ of a GLM (McCullagh & Nelder, *Generalized Linear Models*, 2nd ed., 2.5.1). With
an L2 penalty it is the variance of the shrunken estimates, whose bias it does not know. φ is 1 for counts and classes,
else Pearson's χ² over S less the number of parameters. Under an L1 penalty there is no such V: it is refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from blockdot.blocks.dataset import Dataset
from blockdot.blocks.threads import ThreadPool
from blockdot.blocks.tree import Pool
from blockdot.errors import DataError, SpecError
from blockdot.models.evaluate import DevianceSum, NullDeviancePass
from blockdot.models.likelihood import ClusterScores, Describe, Fisher, LogLikelihood, ScoreGram
from blockdot.models.model import Model
from blockdot.objective.families import Binomial, Gaussian, Poisson
from blockdot.objective.links import link_named
from blockdot.objective.objective import Objective
from blockdot.objective.penalties import L2
from blockdot.objective.predictors import Linear
from blockdot.vectors import Cholesky, Vector

Kind = Literal["model", "robust", "clustered"]
Weights = Literal["frequency", "prior"]

_FEW = 2048  # parameters: up to so many the matrices are made
_CLUSTER_ROOM = 50_000_000  # numbers in the matrix of the clusters' scores


@dataclass(frozen=True, eq=False)
class Inference:
    """Estimates with their uncertainty, and how well the model fits.

    Attributes
    ----------
    names
        Feature ids (or names), "intercept" last.
    estimate, standard_error, z, p_value
        One number each a parameter; ``z`` is estimate over standard error, its p-value two-sided from the normal
        distribution, or from Student's t with ``df_residual`` where φ is estimated.
    covariance
        V, where it was made; None where standard errors were asked for some features alone.
    dispersion, deviance, null_deviance, pearson_chi2, log_likelihood, aic, bic, df_residual
        Of the fit. ``log_likelihood`` (and AIC, BIC) are None for a Tweedie loss, which knows none in closed form; for
        a normal loss it is taken at the maximum likelihood estimate of φ, as R does.
    """

    names: tuple[Any, ...]
    estimate: Vector
    standard_error: Vector
    covariance: NDArray[np.float64] | None
    dispersion: float
    deviance: float
    null_deviance: float
    pearson_chi2: float
    log_likelihood: float | None
    aic: float | None
    bic: float | None
    df_residual: float
    estimates_dispersion: bool

    @property
    def z(self) -> Vector:
        """Estimate over standard error."""
        return self.estimate / self.standard_error

    @property
    def p_value(self) -> Vector:
        """The probability of a |z| at least as large where the true value is 0."""
        return 2.0 * np.asarray(self._distribution().sf(np.abs(self.z)))

    def confidence_interval(self, level: float = 0.95) -> NDArray[np.float64]:
        """(p, 2) the ends of the interval that holds the true value with the probability ``level``."""
        if not 0 < level < 1:
            raise SpecError(f"level is {level!r}; needed a probability between 0 and 1, such as 0.95")
        half = self._distribution().isf((1.0 - level) / 2.0) * self.standard_error
        return np.column_stack([self.estimate - half, self.estimate + half])

    def wald_test(self, restriction: ArrayLike, value: ArrayLike = 0.0) -> tuple[float, int, float]:
        """Whether R w = r: the statistic (Rw − r)ᵀ (R V Rᵀ)⁻¹ (Rw − r), its degrees of freedom, its p-value (χ²)."""
        from scipy.stats import chi2

        if self.covariance is None:
            raise SpecError("a Wald test needs the covariance of all parameters: ask for no features by name")
        R = np.atleast_2d(np.asarray(restriction, np.float64))
        if R.shape[1] != len(self.estimate):
            raise SpecError(f"the restriction has {R.shape[1]} columns; needed {len(self.estimate)}, one a parameter")
        apart = R @ self.estimate - np.asarray(value, np.float64)
        statistic = float(apart @ np.linalg.solve(R @ self.covariance @ R.T, apart))
        return statistic, len(R), float(chi2.sf(statistic, len(R)))

    def _distribution(self) -> Any:
        from scipy import stats

        return stats.t(self.df_residual) if self.estimates_dispersion else stats.norm()


def infer(
    model: Model,
    data: Dataset,
    *,
    kind: Kind = "model",
    clusters: ArrayLike | None = None,
    features: Sequence[int] | None = None,
    weights: Weights = "frequency",
    pool: Pool | None = None,
) -> Inference:
    """Standard errors and tests of a model of one output on the data that it was fitted to.

    Parameters
    ----------
    kind
        "model" trusts the variance of the family; "robust" does not; "clustered" lets rows of a cluster depend on each
        other.
    clusters
        (n_rows,) labels, for "clustered"; for data in memory.
    features
        Feature ids: their standard errors alone, each by a solve with conjugate gradients. The only way where more
        than 2,048 parameters occur.
    weights
        What weights mean where φ is estimated: "frequency", the number of equal rows (degrees of freedom S − p), or
        "prior", the precision of a row (rows − p), as in R's glm.

    Raises SpecError for a penalty with an L1 part, several outputs, a loss that is no likelihood, too many features.
    """
    family = _family(model)
    pool = pool or ThreadPool()
    w = model.parameters(data)
    names, places = _named(data, len(w), features)
    training = data if model.info.labels is None else data.encoded(model.info.labels)
    with training.on(pool) as blocks:
        total = blocks.sum(Describe(family, model.predictor), w).numbers
        weight, pearson, deviance, total_y = total.tolist()
        null: DevianceSum = blocks.sum(NullDeviancePass(family, total_y / weight))
        if weights not in ("frequency", "prior"):
            raise SpecError(f"weights is {weights!r}; needed 'frequency' or 'prior'")
        size = weight if weights == "frequency" else float(data.n_rows)
        df = size - len(w)
        estimates = not isinstance(family, (Poisson, Binomial))
        if estimates and not df > 0:
            raise DataError(f"{size:g} rows and {len(w)} parameters leave nothing to estimate the dispersion from")
        dispersion = pearson / df if estimates else 1.0
        objective = Objective(Fisher(family), model.predictor, L2(model.info.fit.alpha), blocks)
        if features is None:
            covariance = _covariance(objective, family, w, weight, dispersion, kind, clusters, data)
            covariance = covariance[np.ix_(places, places)]
            error = np.sqrt(np.diag(covariance))
        else:
            covariance = None
            error = _some_errors(objective, data, w, weight, dispersion, kind, features)
        # R: the likelihood of a normal model at the mean square, which is its maximum
        at = deviance / size if isinstance(family, Gaussian) else dispersion
        likelihood = None
        if callable(getattr(family, "loglik", None)):
            likelihood = float(blocks.sum(LogLikelihood(family, model.predictor, at), w).numbers[0])
    p = len(w) + isinstance(family, Gaussian)
    return Inference(
        names=names,
        estimate=w[places],
        standard_error=error,
        covariance=covariance,
        dispersion=dispersion,
        deviance=deviance,
        null_deviance=null.deviance,
        pearson_chi2=pearson,
        log_likelihood=likelihood,
        aic=None if likelihood is None else 2.0 * p - 2.0 * likelihood,
        bic=None if likelihood is None else p * math.log(size) - 2.0 * likelihood,
        df_residual=df,
        estimates_dispersion=estimates,
    )


def likelihood_ratio_test(larger: Inference, smaller: Inference) -> tuple[float, int, float]:
    """Whether a smaller model, nested in a larger one, fits as well.

    The statistic (D_small − D_large)/φ_large, its degrees of freedom, its p-value (χ²).
    """
    from scipy.stats import chi2

    freedom = round(smaller.df_residual - larger.df_residual)
    if freedom <= 0:
        raise SpecError("the first model must have more parameters than the second, on the same rows")
    statistic = (smaller.deviance - larger.deviance) / larger.dispersion
    return statistic, freedom, float(chi2.sf(statistic, freedom))


def _family(model: Model) -> Any:
    """The likelihood that a model's loss is a part of."""
    if model.outputs is not None:
        raise SpecError(f"standard errors are known for models of one output; {model.info.loss} has {model.outputs}")
    if model.info.fit.alpha * model.info.fit.l1_ratio > 0.0:
        raise SpecError(
            "an L1 penalty chooses features by the data, so standard errors of what it leaves are too small: "
            "fit with l1_ratio=0 (or a smaller set of features) to have them"
        )
    match model.info.loss:
        case "squared":
            return Gaussian(link_named("identity"))
        case "logistic":
            return Binomial(link_named("logit"))
    if not callable(getattr(model.loss, "deviance", None)):
        raise SpecError(f"the loss {model.info.loss} is no likelihood, so its estimates have no standard errors here")
    return model.loss


def _covariance(
    objective: Objective,
    family: Any,
    w: Vector,
    weight: float,
    dispersion: float,
    kind: Kind,
    clusters: ArrayLike | None,
    data: Dataset,
) -> NDArray[np.float64]:
    if len(w) > _FEW:
        raise SpecError(
            f"{len(w):,} parameters are too many for a matrix of their covariances (at most {_FEW:,}): "
            "name the features whose standard errors are needed"
        )
    information = weight * replace(objective, penalty=L2(0.0)).hessian(w)
    factor = Cholesky.of(weight * objective.hessian(w))
    if factor is None:
        raise DataError("the features are linearly dependent on these rows: drop one of them, or fit with alpha > 0")
    if kind == "model":
        meat = dispersion * information
    elif kind == "robust":
        half = objective.blocks.sum(ScoreGram(family, _linear(objective)), w).matrix[0]
        meat = half + half.T - np.diag(np.diag(half))
    elif kind == "clustered":
        meat = _cluster_meat(objective, family, w, clusters, data)
    else:
        raise SpecError(f"kind is {kind!r}; needed 'model', 'robust' or 'clustered'")
    left = np.column_stack([factor.solve(column) for column in meat.T])
    covariance: NDArray[np.float64] = np.column_stack([factor.solve(column) for column in left])
    return 0.5 * (covariance + covariance.T)


def _cluster_meat(
    objective: Objective, family: Any, w: Vector, clusters: ArrayLike | None, data: Dataset
) -> NDArray[np.float64]:
    if clusters is None or data.path is not None:
        raise SpecError("kind='clustered' needs clusters, one label a row, and data in memory")
    labels, place = np.unique(np.asarray(clusters), return_inverse=True)
    if place.shape != (data.n_rows,):
        raise SpecError(f"clusters has the shape {place.shape}; needed ({data.n_rows},), one label a row")
    if len(labels) * len(w) > _CLUSTER_ROOM:
        raise SpecError(f"{len(labels):,} clusters times {len(w):,} parameters are too many to hold their scores")
    task = ClusterScores(family, _linear(objective), place, len(labels))
    scores = objective.blocks.sum(task, w).matrix
    return np.asarray(np.einsum("gi,gj->ij", scores, scores))


def _some_errors(
    objective: Objective,
    data: Dataset,
    w: Vector,
    weight: float,
    dispersion: float,
    kind: Kind,
    features: Sequence[int],
) -> Vector:
    """√(φ xᵀ J x) with x = H⁻¹ eⱼ, for each feature."""
    from scipy.sparse.linalg import LinearOperator, cg

    if kind != "model":
        raise SpecError(f"kind={kind!r} needs the matrix of all parameters: leave features out, or take kind='model'")
    size = len(w)
    diagonal = objective.hess_diag(w)
    product = LinearOperator((size, size), matvec=lambda v: objective.hess_vec(w, np.ravel(v)), dtype=np.float64)
    inverse = LinearOperator((size, size), matvec=lambda v: np.ravel(v) / diagonal, dtype=np.float64)
    plain = replace(objective, penalty=L2(0.0))
    errors: list[float] = []
    for place in _named(data, size, features)[1]:
        unit = np.zeros(size)
        unit[place] = 1.0
        x, code = cg(product, unit, rtol=1e-8, maxiter=10 * size, M=inverse)
        if code != 0:
            raise DataError(f"feature {features[len(errors)]}: no standard error was found; fit with alpha > 0")
        errors.append(math.sqrt(dispersion * float(x @ plain.hess_vec(w, x)) / weight))
    return np.array(errors)


def _named(data: Dataset, size: int, features: Sequence[int] | None) -> tuple[tuple[Any, ...], NDArray[np.intp]]:
    """The names of parameters, ascending by feature id, and their places in the parameter vector."""
    ids, k = data.table.ids, len(data.table)
    if features is None:
        order = np.argsort(ids)
        tail = np.arange(k, size)
        return (*ids[order].tolist(), *["intercept"] * len(tail)), np.concatenate([order, tail])
    where = {int(i): place for place, i in enumerate(ids)}
    missing = [feature for feature in features if int(feature) not in where]
    if missing:
        raise SpecError(f"feature {missing[0]} does not occur in these data: name features that do")
    return tuple(features), np.array([where[int(feature)] for feature in features], np.intp)


def _linear(objective: Objective) -> Linear:
    assert isinstance(objective.predictor, Linear)
    return objective.predictor
