"""Conjugates by definition; the duality gap: a bound that holds, and that closes at the minimum."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import blockdot as bd
from blockdot.objective.certificate import gap_bound
from blockdot.objective.duality import duality_gap
from blockdot.objective.families import Gamma, Poisson
from blockdot.objective.links import link_named
from blockdot.objective.multiclass import BinaryCrossEntropy, Softmax
from blockdot.objective.penalties import ElasticNet, GroupLasso, Tikhonov
from blockdot.objective.robust import (
    EpsilonInsensitive,
    Hinge,
    Huber,
    Quantile,
    SquaredEpsilonInsensitive,
    SquaredHinge,
)
from blockdot.objective.scaling import standardized

POOL = bd.ThreadPool(2)
CLASSES = [bd.Logistic(), Hinge(0.1), SquaredHinge()]
NUMBERS = [bd.Squared(), Huber(0.8), Quantile(0.3, 0.1), EpsilonInsensitive(0.2, 0.1), SquaredEpsilonInsensitive(0.2)]
SEVERAL = (BinaryCrossEntropy, Softmax)
LOSSES = [*CLASSES, *NUMBERS, Poisson(), BinaryCrossEntropy(3), Softmax(3)]
PENALTIES = {
    "l2": bd.L2(0.05),
    "elastic net": ElasticNet(0.05, 0.5),
    "l1": ElasticNet(0.03, 1.0),
    "weighted": ElasticNet(0.05, 0.4, np.linspace(0.5, 2.0, 8)),
}


def name(loss):
    return type(loss).__name__


def targets(loss, z, rng):
    if isinstance(loss, SEVERAL):
        return np.digitize(z, [-0.5, 0.6]).astype(float)
    if type(loss) in map(type, CLASSES):
        return (z > 0.0).astype(float)
    return rng.poisson(np.exp(z)).astype(float) if isinstance(loss, Poisson) else z


def objective(loss, penalty, *, intercept, scaled=False, seed=0):
    rng = np.random.default_rng(seed)
    X = sp.random_array((120, 8), density=0.5, rng=rng, format="csr")
    X.data = rng.normal(0.4, 1.0, X.nnz)
    y = targets(loss, X @ rng.normal(0.0, 0.7, 8) + 0.4 * rng.normal(size=120) + 0.2, rng)
    data = bd.Dataset.from_arrays(X, y, rng.integers(0, 4, 120), 0.3 * rng.normal(size=120), block_rows=50)
    blocks = bd.Blocks(data.source, POOL)
    F = bd.Objective(loss, bd.Linear(intercept, getattr(loss, "outputs", None)), penalty, blocks)
    return bd.Objective(*(getattr(F, part) for part in ("loss", "predictor", "penalty", "blocks")),
                        standardized(blocks, centre=intercept)) if scaled else F  # fmt: skip


def total(F, w):
    return F.value(w) + (0.0 if F.term is None else F.term.value(w))


@pytest.mark.parametrize("loss", LOSSES, ids=name)
@settings(max_examples=50, deadline=None)
@given(z=st.floats(-20, 20), other=st.floats(-20, 20), share=st.floats(0, 1), at=st.sampled_from([0.0, 1.0, 2.0]))
def test_fenchels_inequality_with_equality_at_the_slope(loss, z, other, share, at):
    y = np.array([min(at, 1.0) if type(loss) in map(type, CLASSES) else at])
    columns = np.array([[1.0, -0.5, 0.2]])
    z, other = (v * columns if isinstance(loss, SEVERAL) else np.array([v]) for v in (z, other))
    value, u = loss.value_and_grad(y, z, 1.0)
    assert np.sum(u * z) - np.sum(loss.conjugate(y, u)) == pytest.approx(value, rel=1e-9, abs=1e-9)
    u = share * u
    below = np.sum(u * other) - np.sum(loss.conjugate(y, u))
    assert below <= loss.value(y, other, 1.0) * (1 + 1e-12) + 1e-9


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("loss", LOSSES, ids=name)
def test_the_gap_is_a_bound_and_closes_at_the_minimum(loss, intercept, penalty):
    for scaled in (False, True) if not isinstance(loss, SEVERAL) else (False,):
        F = objective(loss, PENALTIES[penalty], intercept=intercept, scaled=scaled)
        solver = bd.NewtonCG() if F.term is None else bd.ProximalNewton()
        best = bd.minimize(F, solver, F.zeros(), tol=1e-10, max_iter=500)
        least = total(F, best.w)
        rng = np.random.default_rng(2)
        for size in (0.0, 1e-3, 1e-2, 0.1, 1.0):
            w = best.w + size * rng.normal(size=F.size)
            bound = duality_gap(F, w)
            assert total(F, w) - least <= bound + 1e-13
        assert duality_gap(F, best.w) <= 1e-7 * abs(least) + 1e-12


class Own:
    """½ ‖w − 1‖²/10: its Hessian is diagonal, and it is no L2 penalty."""

    is_diagonal, strong_convexity = True, 0.1

    def value(self, w, layout):
        return 0.05 * float(np.sum((layout.split(w)[0] - 1.0) ** 2))

    def hess_diag(self, size, layout):
        return bd.L2(0.1).hess_diag(size, layout)

    def term(self, size, layout):
        return None


def test_there_is_no_gap_where_it_is_not_known():
    for loss, penalty in (
        (Gamma(), bd.L2(0.1)),
        (Poisson(link_named("identity")), bd.L2(0.1)),
        (bd.Logistic(), bd.L2(0.0)),
        (bd.Logistic(), ElasticNet(0.1, 0.5, np.array([0.0, *np.ones(7)]))),
        (bd.Logistic(), ElasticNet(0.1, 0.5, None, 0.0)),
        (bd.Logistic(), GroupLasso(0.1, np.arange(8) // 2)),
        (bd.Logistic(), Tikhonov(lambda w: w)),
        (bd.Logistic(), Own()),
    ):
        F = objective(loss, penalty, intercept=True)
        assert duality_gap(F, F.zeros()) is None


def test_no_bound_for_a_loss_that_is_not_convex():
    """Its gradient is 0 at w = 0, where F = 40.5; F = 24.5 at log 10."""
    data = bd.Dataset.from_arrays(np.array([[1.0], [-1.0]]), np.array([10.0, 10.0]))
    est = bd.GeneralizedLinearRegressor(family="gaussian", link="log", fit_intercept=False, alpha=1e-3).fit(data)
    assert est.model_.info.fit.gap_bound is None
    F = bd.Objective(est.model_.loss, bd.Linear(False), bd.L2(1e-3), bd.Blocks(data.source, POOL))
    assert F.value(np.array([np.log(10.0)])) < F.value(F.zeros()) - 15.0
    assert gap_bound(F, F.zeros(), F.value_and_grad(F.zeros())[1]) is None


CONVEX = {
    ("poisson", "log"), ("poisson", "identity"), ("gamma", "log"), ("gamma", "inverse"), ("gaussian", "identity"),
    ("inverse-gaussian", "inverse-squared"), ("binomial", "logit"), ("binomial", "probit"), ("binomial", "cloglog"),
}  # fmt: skip


@pytest.mark.parametrize("family", ["gaussian", "poisson", "gamma", "inverse-gaussian", "binomial"])
@pytest.mark.parametrize("link", ["identity", "log", "inverse", "inverse-squared", "logit", "probit", "cloglog"])
def test_what_is_said_to_be_convex_is(family, link):
    from blockdot.models.kinds import make_loss

    loss = make_loss(family, {"link": link})
    assert loss.is_convex == ((family, link) in CONVEX)
    if loss.is_convex:
        z = (
            np.linspace(0.05, 4.0, 400)
            if link in ("identity", "inverse", "inverse-squared")
            else np.linspace(-6, 3, 400)
        )
        for y in (0.3, 0.9) if family == "binomial" else (0.3, 2.0):
            assert np.all(loss.hess_dot(np.full(400, y), z, 1.0, np.ones(400)) >= -1e-12)


def test_what_is_balanced_weighs_nothing_in_sum():
    rng = np.random.default_rng(3)
    y, s, z = rng.integers(0, 4, 50).astype(float), rng.uniform(0.0, 2.0, 50), rng.normal(0.0, 2.0, (50, 4))
    loss = Softmax(4)
    _, slope = loss.value_and_grad(y, z, 1.0)
    u = loss.balanced(y, slope, loss.slope_sums(y, slope, s))
    np.testing.assert_allclose(s @ u, 0.0, atol=1e-12)
    p = u + np.eye(4)[y.astype(int)]
    assert np.all(p >= 0.0)
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
