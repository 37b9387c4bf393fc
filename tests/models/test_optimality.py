"""Every loss × penalty × solver × way to hand in data: the conditions of optimality hold, or it is refused in words.

The conditions are computed here by dense NumPy, from the coefficients that came back and from each loss's derivative
(itself tested by finite differences): g = ∂/∂w of the mean loss, and at the minimum −g is a subgradient of the penalty.
"""

import itertools
from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp

import blockdot as bd
from blockdot.models.fit import fit
from blockdot.models.kinds import KINDS, make_loss
from blockdot.models.recipe import PROXIMAL, SMOOTH, Recipe

N, D, TOL = 90, 6, 1e-7
SMOOTHED = {"smoothing": 0.1}
OPTIONS = {
    "huber": {"delta": 0.8},
    "quantile": {"quantile": 0.3, **SMOOTHED},
    "epsilon-insensitive": {"epsilon": 0.2, **SMOOTHED},
    "squared-epsilon-insensitive": {"epsilon": 0.2},
    "tweedie": {"power": 1.5, "link": "log"},
    "hinge": SMOOTHED,
}
PENALTIES = {
    "none": {"alpha": 0.0},
    "l2": {"alpha": 0.05},
    "l1": {"alpha": 0.03, "l1_ratio": 1.0},
    "elastic net, weighted": {"alpha": 0.05, "l1_ratio": 0.5, "penalty_weights": [1.0, 0.0, 2.0, 1.0, 0.5, 1.0]},
    "non-negative": {"alpha": 0.01, "lower": 0.0},
    "l1 in a box": {"alpha": 0.02, "l1_ratio": 0.8, "lower": -0.2, "upper": 0.3},
    "groups": {"alpha": 0.05, "l1_ratio": 0.9, "groups": [0, 0, 1, 1, 2, 2]},
}
WAYS = {
    "plain": {},
    "standardised": {"standardize": True},
    "weights and offset": {"rows": True},
    "no intercept, standardised, weights": {"standardize": True, "rows": True, "fit_intercept": False},
    "standardised, weights and offset": {"standardize": True, "rows": True},
    "dense": {"dense": True},
}
# Other links than those that the losses have by themselves.
LINKED = {
    "binomial, probit": ("binomial", {"link": "probit"}),
    "binomial, cloglog": ("binomial", {"link": "cloglog"}),
    "gaussian, log": ("gaussian", {"link": "log"}),
    "tweedie, 1.2": ("tweedie", {"power": 1.2, "link": "log"}),
}
CASES = {name: (name, OPTIONS.get(name, {})) for name in KINDS} | LINKED
IS_SMOOTH = {"none", "l2"}


def rows(loss, seed=0):
    rng = np.random.default_rng(seed)
    X = sp.random_array((N, D), density=0.6, rng=rng, format="csr")
    X.data = rng.normal(0.5, 1.0, X.nnz)
    z = X @ np.array([0.8, -0.6, 0.0, 0.3, 0.0, -0.2]) + 0.2 + 0.5 * rng.normal(size=N)
    match KINDS[loss].targets:
        case "classes":
            y = np.digitize(z, [-0.5, 0.5]).astype(float)
        case "labels":
            y = (z[:, np.newaxis] > [-0.5, 0.1, 0.9]).astype(float)
        case "two classes":
            y = (z > 0).astype(float)
        case _ if loss == "binomial":
            y = 1 / (1 + np.exp(-z))
        case _ if loss in ("poisson", "gamma", "inverse-gaussian", "tweedie"):
            y = np.exp(z) + (loss != "poisson") * 0.1
            y = np.round(y) if loss == "poisson" else y
        case _:
            y = z
    return X, y, rng.uniform(0.2, 2.0, N), 0.3 * rng.normal(size=N)


def kkt(loss, recipe, X, y, s, o, coef, intercept):
    """The largest violation of the conditions, relative to the gradient at w = 0."""
    dense = X.toarray()
    mean, sd = np.zeros(D), np.ones(D)
    if recipe.standardize:
        mean = np.average(dense, axis=0, weights=s)
        sd = np.sqrt(np.average((dense - mean) ** 2, axis=0, weights=s))
    centred = (dense - mean if recipe.fit_intercept else dense) / sd
    v = coef * sd[:, None]
    z = dense @ coef + intercept + o[:, None]
    u = loss.value_and_grad(y, z[:, 0] if not getattr(loss, "outputs", None) else z, s)[1].reshape(N, -1) / s.sum()
    g = centred.T @ u
    alpha, rho = recipe.alpha, recipe.l1_ratio
    if recipe.groups is not None:
        g = g + alpha * (1 - rho) * v
        out = []
        for group in np.unique(recipe.groups):
            inside = np.asarray(recipe.groups) == group
            lam, length = alpha * rho * np.sqrt(inside.sum() * v.shape[1]), np.linalg.norm(v[inside])
            if length > 0:
                out.append(np.linalg.norm(g[inside] + lam * v[inside] / length))
            else:
                out.append(max(np.linalg.norm(g[inside]) - lam, 0.0))
        worst = max(out)
    else:
        p = np.ones((D, 1)) if recipe.penalty_weights is None else np.array(recipe.penalty_weights)[:, None]
        lower = (-np.inf if recipe.lower is None else recipe.lower) * np.ones_like(coef)
        upper = (np.inf if recipe.upper is None else recipe.upper) * np.ones_like(coef)
        assert np.all(coef >= lower - 1e-12)
        assert np.all(coef <= upper + 1e-12)
        g, lam = g + alpha * (1 - rho) * p * v, alpha * rho * p
        at_lower, at_upper = coef <= lower + 1e-12, coef >= upper - 1e-12
        low = np.where(at_lower, -np.inf, g + np.where(v > 0, lam, -lam))
        high = np.where(at_upper, np.inf, g + np.where(v < 0, -lam, lam))
        worst = np.max(np.abs(np.clip(0.0, low, high)))
    if recipe.fit_intercept:
        worst = max(worst, np.max(np.abs(u.sum(axis=0))))
    z0 = np.zeros_like(z) + o[:, None]
    u0 = loss.value_and_grad(y, z0[:, 0] if not getattr(loss, "outputs", None) else z0, s)[1].reshape(N, -1) / s.sum()
    return worst / max(np.linalg.norm(centred.T @ u0), np.linalg.norm(u0.sum(axis=0)))


def refusal(loss, penalty, solver):
    """What the refusal of a combination says, or None where it is allowed."""
    if solver == "gauss-newton":
        return "goes with a network"
    if penalty not in IS_SMOOTH and solver in SMOOTH:
        return "smooth"
    if penalty == "groups" and solver in ("owl-qn", "proximal-newton"):
        return "group lasso"
    if solver == "newton-cholesky" and penalty == "none" and "smoothing" in KINDS[loss].options:
        return "pieces without curvature"
    if solver == "newton-cholesky" and loss == "softmax":
        return "several outputs"
    return None


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("case", CASES)
def test_the_conditions_of_optimality_hold_or_the_pair_is_refused(case, penalty):
    loss_name, options = CASES[case]
    X, y, s, o = rows(loss_name)
    if case == "gaussian, log":
        y = np.exp(0.5 * y)
    loss = make_loss(loss_name, options | ({"outputs": 3} if "outputs" in KINDS[loss_name].options else {}))
    for (way, settings), solver in itertools.product(WAYS.items(), ("auto", *SMOOTH, *PROXIMAL)):
        if solver == "gradient-descent" and penalty == "none":
            continue  # it gets there, in ten thousand steps
        settings = dict(settings)
        has_rows, is_dense = settings.pop("rows", False), settings.pop("dense", False)
        weight, offset = (s, o) if has_rows else (np.ones(N), np.zeros(N))
        if loss_name == "softmax":
            offset = np.zeros(N)  # refused otherwise (test_manners.py): it changes no probability
        settings = PENALTIES[penalty] | settings
        recipe = partial(Recipe, loss_name, options, solver=solver, tol=TOL, max_iter=20_000, **settings)
        rows_in = X.toarray() if is_dense else X
        data = bd.Dataset.from_arrays(rows_in, y, weight, offset if np.any(offset) else None, block_rows=40)
        why = refusal(loss_name, penalty, solver)
        if why is not None:
            with pytest.raises(bd.BlockdotError, match=why):
                fit(data, recipe(), bd.ThreadPool(1))
            continue
        model, result = fit(data, recipe(), bd.ThreadPool(1))
        where = f"{way}, {solver}: {result.message}"
        assert result.status in ("converged", "stalled"), where
        coef = model.dense_coef().reshape(-1, D).T
        assert kkt(loss, recipe(), X, y, weight, offset, coef, model.intercept) < 50 * TOL, where
