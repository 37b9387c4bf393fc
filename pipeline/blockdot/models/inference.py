"""Standard errors, tests and intervals of a fitted model, and what the fit explains.

    V = φ H⁻¹ J H⁻¹,      J = Σ s (μ')²/Var(μ) x xᵀ  (Fisher's information),     H = J + S α 1   (α 1 of the penalty)
    robust      φ J is replaced by Σ s (∂ℓ/∂z)² x xᵀ        (sandwich: White, Econometrica 48 (1980); Huber 1967)
    clustered   by Σ_g u_g u_gᵀ,  u_g = Σ_{i in g} sᵢ ∂ℓ/∂z xᵢ   (Liang & Zeger, Biometrika 73 (1986))

Without a penalty V is the usual φ J⁻¹ of a GLM (McCullagh & Nelder, *Generalized Linear Models*, 2nd ed., 2.5.1). With
an L2 penalty it is the variance of the shrunken estimates, whose bias it does not know. φ is 1 for counts and classes,
else Pearson's χ² over S less the number of parameters. Under an L1 penalty there is no such V: it is refused.

Of K classes, softmax: what is estimated are the differences of the other classes to a reference, the first class if
none is named: β_c = w_c − w_r is the log odds of c against r, as in statsmodels' MNLogit, R's multinom and Stata's
mlogit. J has p_a (δ_ab − p_b) for (μ')²/Var(μ) (likelihood.py). One-vs-rest is K models of two classes, each of them
by itself as if it had been fitted alone; between them V has what is due to a row's having one class alone. So are
labels, of which a row can have any number: what is between them is known to robust and clustered errors alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from blockdot.blocks.dataset import Dataset
from blockdot.blocks.sums import Blocks
from blockdot.blocks.threads import ThreadPool
from blockdot.blocks.tree import Pool
from blockdot.errors import DataError, SpecError
from blockdot.models.covariance import Point
from blockdot.models.deviance import null_deviance
from blockdot.models.information import Describe, Kind, LogLikelihood, Parameters, Weights
from blockdot.models.likelihood import Likelihood, Multinomial, OneOutput, Separate
from blockdot.models.model import Model
from blockdot.models.null_model import null_parameters
from blockdot.models.targets import Tally, tally
from blockdot.objective.binomial import Binomial
from blockdot.objective.families import Gaussian
from blockdot.objective.links import link_named
from blockdot.objective.losses import Squared
from blockdot.objective.objective import Objective
from blockdot.objective.penalties import L2
from blockdot.objective.predictors import Linear
from blockdot.objective.scaling import standardized
from blockdot.vectors import Cholesky, Vector


@dataclass(frozen=True, eq=False)
class Inference:
    """Estimates with their uncertainty, and how well the model fits.

    Attributes
    ----------
    names
        Feature ids, or the names of what a store was made of ("distance", "carrier=UA"), "intercept" last; of several
        classes pairs (class, feature), class by class.
    estimate, standard_error, z, p_value
        One number each a parameter; ``z`` is estimate over standard error, its p-value two-sided from the normal
        distribution, or from Student's t with ``df_residual`` where φ is estimated.
    covariance
        V, where it was made; None where standard errors were asked for some features alone.
    dispersion, deviance, null_deviance, pearson_chi2, log_likelihood, aic, bic, df_residual
        Of the fit. ``log_likelihood`` (and AIC, BIC) are None for a Tweedie loss of p < 0 or p > 2, and for one-vs-rest
        and labels, whose deviances are the sums of those of their models. Where φ is estimated it counts as one more
        parameter, and the likelihood is taken at the deviance over S (of a normal loss over ``size``), as in R.
        ``null_deviance`` is that of the best model without features; of z = offset where there is no intercept.
    size
        The number of observations: S, or with prior weights the rows that have any.
    reference
        Of a softmax, the class that the others are compared with; else None.
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
    size: float
    estimates_dispersion: bool
    reference: Any = None
    is_joint: bool = True
    """Whether there is one likelihood of all parameters; not for one-vs-rest and labels."""

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
        factor = Cholesky.of(R @ self.covariance @ R.T)
        if factor is None:
            raise SpecError("the rows of the restriction are linearly dependent: leave out those that say it again")
        apart = R @ self.estimate - np.asarray(value, np.float64)
        statistic = float(apart @ factor.solve(apart))
        return statistic, len(R), float(chi2.sf(statistic, len(R)))

    def selection(self, name: Any) -> NDArray[np.float64]:
        """The restriction that picks what is called ``name``: of several classes, a feature's parameters in all."""
        of_classes = [found[1] if isinstance(found, tuple) else found for found in self.names]
        rows = [i for i, names in enumerate(zip(self.names, of_classes, strict=True)) if name in names]
        if not rows:
            raise SpecError(f"there is no parameter {name!r}: the names are those of the attribute names")
        return np.eye(len(self.names))[rows]

    def _distribution(self) -> Any:
        from scipy import stats

        return stats.t(self.df_residual) if self.estimates_dispersion else stats.norm()


def infer(
    model: Model,
    data: Dataset,
    *,
    kind: Kind = "model",
    reference: Any = None,
    clusters: ArrayLike | None = None,
    features: Sequence[int | str] | None = None,
    weights: Weights = "frequency",
    pool: Pool | None = None,
) -> Inference:
    """Standard errors and tests of a model on the data that it was fitted to.

    Parameters
    ----------
    kind
        "model" trusts the variance of the family; "robust" does not; "clustered" lets rows of a cluster depend on each
        other.
    reference
        Of a softmax, the class that the others are compared with: the first one by default.
    clusters
        (n_rows,) labels, for kind="clustered", of data in memory; without them the groups of the rows are the clusters:
        of a store those of its ``row_id`` column.
    features
        Feature ids, or names: their standard errors alone, each by a solve with conjugate gradients (of several
        classes, one for each). The only way where more than 2,048 parameters occur.
    weights
        What weights mean: "frequency", the number of equal rows (degrees of freedom S − p, robust Σ s u²), or "prior",
        the precision of a row (rows − p, robust Σ s² u²), as in R's glm.

    Raises SpecError for a penalty with an L1 part, bounds, a loss that is no likelihood, too many features.
    """
    if kind not in ("model", "robust", "clustered"):
        raise SpecError(f"kind is {kind!r}; needed 'model', 'robust' or 'clustered'")
    if clusters is not None and kind != "clustered":
        raise SpecError(f"clusters go with kind='clustered', not with {kind!r}: name that kind, or leave them out")
    if weights not in ("frequency", "prior"):
        raise SpecError(f"weights is {weights!r}; needed 'frequency' or 'prior'")
    if features is not None and kind != "model":
        raise SpecError(f"kind={kind!r} needs the matrix of all parameters: leave features out, or take kind='model'")
    likelihood = _likelihood(model, reference)
    predictor, w = model.predictor, model.parameters(data)
    if not isinstance(predictor, Linear):
        raise SpecError("standard errors are those of a linear model: the parameters of a network are not identified")
    parameters = Parameters(predictor, len(data.table), likelihood.free, likelihood.reference)
    names, places = _named(model, data, parameters, features)
    training = model.outcome.judged(data)
    with training.on(pool or ThreadPool()) as blocks:
        found = tally(training, blocks, model.loss, len(model.info.labels or ()))
        weight, rows, pearson, deviance = blocks.sum(Describe(likelihood, predictor), w).numbers.tolist()
        of_null = _null_deviance(model, likelihood, found, blocks)
        size, estimate = weight if weights == "frequency" else rows, parameters.estimates(w)
        df = size - len(estimate)
        if likelihood.estimates_dispersion and not df > 0:
            raise DataError(
                f"{size:g} rows and {len(estimate)} parameters leave nothing to estimate the dispersion from"
            )
        dispersion = pearson / df if likelihood.estimates_dispersion else 1.0
        objective = Objective(likelihood.loss, predictor, L2(0.0), blocks)
        ridge = _ridge(model, blocks)
        point = Point(likelihood, parameters, objective, w, weight, ridge, dispersion, weights)
        if features is None:
            covariance = point.covariance(kind, data, clusters)[np.ix_(places, places)]
            error = np.sqrt(np.diag(covariance))
        else:
            covariance, error = None, point.errors(places, names)
        # R's: of a normal model the mean square, which is the likeliest; prior weights count as rows in others
        is_normal = isinstance(model.loss, Squared) or getattr(model.loss, "power", None) == 0.0
        counted = size if is_normal else weight
        at = deviance / counted if likelihood.estimates_dispersion else dispersion
        value = float(blocks.sum(LogLikelihood(likelihood, predictor, at, weights), w).numbers[0])
    log_likelihood, p = None if math.isnan(value) else value, len(estimate) + likelihood.estimates_dispersion
    return Inference(
        names=names,
        estimate=estimate[places],
        standard_error=error,
        covariance=covariance,
        dispersion=dispersion,
        deviance=deviance,
        null_deviance=of_null,
        pearson_chi2=pearson,
        log_likelihood=log_likelihood,
        aic=None if log_likelihood is None else 2.0 * p - 2.0 * log_likelihood,
        bic=None if log_likelihood is None else p * math.log(size) - 2.0 * log_likelihood,
        df_residual=df,
        size=size,
        estimates_dispersion=likelihood.estimates_dispersion,
        reference=None if likelihood.reference is None else model.class_labels.tolist()[likelihood.reference],
        is_joint=likelihood.is_joint,
    )


def likelihood_ratio_test(larger: Inference, smaller: Inference) -> tuple[float, int, float]:
    """Whether a smaller model, nested in a larger one, fits as well.

    The statistic (D_small − D_large)/φ_large, its degrees of freedom, its p-value (χ²).
    """
    from scipy.stats import chi2

    if not (larger.is_joint and smaller.is_joint):
        raise SpecError(
            "several models (one-vs-rest, labels) have no likelihood of their own: compare models of the softmax, or "
            "of one class at a time"
        )
    if not math.isclose(larger.size, smaller.size, rel_tol=1e-9):
        raise SpecError(
            f"the models were fitted to {larger.size:g} and {smaller.size:g} rows: compare models of the same rows"
        )
    freedom = round(smaller.df_residual - larger.df_residual)
    if freedom <= 0:
        raise SpecError("the first model must have more parameters than the second, on the same rows")
    statistic = (smaller.deviance - larger.deviance) / larger.dispersion
    return statistic, freedom, float(chi2.sf(statistic, freedom))


def _likelihood(model: Model, reference: Any) -> Likelihood:
    """The likelihood that a model's loss is a part of."""
    fit, loss = model.info.fit, model.info.loss
    if fit.alpha * fit.l1_ratio > 0.0:
        raise SpecError(
            "an L1 penalty chooses features by the data, so standard errors of what it leaves are too small: "
            "fit with l1_ratio=0 (or a smaller set of features) to have them"
        )
    if fit.restricted:
        raise SpecError(
            f"the model was fitted with {', '.join(fit.restricted)}, which standard errors depend on and the model "
            "does not hold: fit without (weights of classes can be given as weights of the rows)"
        )
    if reference is not None and loss != "softmax":
        raise SpecError(f"reference goes with the softmax of several classes, not with the loss {loss}: leave it out")
    match loss:
        case "squared":
            return OneOutput(Gaussian(link_named("identity")))
        case "logistic":
            return OneOutput(Binomial(link_named("logit")))
        case "softmax":
            return Multinomial(model.loss, _place(model, reference))
        case "one-vs-rest" | "multi-label":
            return Separate(model.loss, exclude_each_other=not model.is_multilabel)
    if not callable(getattr(model.loss, "deviance", None)):
        raise SpecError(f"the loss {loss} is no likelihood, so its estimates have no standard errors here")
    family: Any = model.loss
    return OneOutput(family)


def _place(model: Model, reference: Any) -> int:
    """The place of a class, by its name or its number; the first where none is named."""
    classes = model.class_labels.tolist()
    if reference is not None and reference not in classes:
        raise SpecError(f"reference is {reference!r}; needed one of the classes {', '.join(map(str, classes))}")
    return 0 if reference is None else classes.index(reference)


def _ridge(model: Model, blocks: Blocks) -> Vector:
    """What the penalty adds to the second derivative in each feature: α, times σ² where they were standardised."""
    fit = model.info.fit
    if not (fit.standardize and fit.alpha):
        return np.full(blocks.n_features, fit.alpha)
    return np.asarray(fit.alpha * standardized(blocks, centre=False).sd[:, 0] ** 2)


def _null_deviance(model: Model, likelihood: Likelihood, found: Tally, blocks: Blocks) -> float:
    """The deviance of the best model without features, or of z = offset where there is no intercept."""
    if not model.info.intercept:
        plain = Linear(False, model.outputs)
        return float(blocks.sum(Describe(likelihood, plain), np.zeros(plain.layout.size(blocks.n_features))).numbers[3])
    if isinstance(likelihood, OneOutput):
        return null_deviance(likelihood.family, found.mean, found, blocks)
    plain = Linear(True, model.outputs)
    null = null_parameters(Objective(model.loss, plain, L2(0.0), blocks), found)
    return float(blocks.sum(Describe(likelihood, plain), null).numbers[3])


def _named(
    model: Model, data: Dataset, parameters: Parameters, features: Sequence[int | str] | None
) -> tuple[tuple[Any, ...], NDArray[np.intp]]:
    """The names of parameters, output by output, ascending by feature id, and their places among all."""
    ids, k, each = data.table.ids, parameters.k, parameters.each
    if features is None:
        order = np.argsort(ids)
        names = [*model.feature_names(ids[order]), *["intercept"] * (each - k)]
        own = np.concatenate([order, np.arange(k, each)])
    else:
        places = np.arange(len(ids)).tolist()
        where: dict[int | str, int] = dict(
            zip([*ids.tolist(), *model.feature_names(ids)], [*places, *places], strict=True)
        )
        missing = [feature for feature in features if feature not in where]
        if missing:
            raise SpecError(f"feature {missing[0]} does not occur in these data: name features that do")
        names, own = list(features), np.array([where[feature] for feature in features], np.intp)
    if model.outputs is None:
        return tuple(names), own
    classes = model.class_labels.tolist()
    pairs = tuple((classes[output], name) for output in parameters.free for name in names)
    return pairs, np.concatenate([a * each + own for a in range(len(parameters.free))])
