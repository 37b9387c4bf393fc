"""The certificate: a bound that holds, and that is worth something near the minimum."""

import math

import numpy as np
import pytest
import scipy.sparse as sp

import blockdot as bd
from blockdot.objective.certificate import gap_bound

POOL = bd.ThreadPool(2)


def objective(loss, *, intercept, alpha, seed, shift=0.0):
    rng = np.random.default_rng(seed)
    X = sp.random_array((300, 25), density=0.3, rng=rng, format="csr")
    X.data = rng.normal(size=X.nnz) + shift
    z = X @ rng.normal(size=25) + 0.7
    y = z + rng.normal(size=300) if isinstance(loss, bd.Squared) else (rng.random(300) < 1 / (1 + np.exp(-z))) * 1.0
    data = bd.Dataset.from_arrays(X, y, rng.integers(1, 4, 300), 0.3 * rng.normal(size=300), block_rows=77)
    return bd.Objective(loss, bd.Linear(intercept), bd.L2(alpha), bd.Blocks(data.source, POOL))


@pytest.mark.parametrize("loss", [bd.Logistic(), bd.Squared()], ids=["logistic", "squared"])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("alpha", [1e-3, 1e-1])
@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_the_bound_holds_everywhere(loss, intercept, alpha, shift):
    F = objective(loss, intercept=intercept, alpha=alpha, seed=1, shift=shift)
    best = bd.minimize(F, bd.NewtonCholesky(), F.zeros(), tol=1e-12)
    rng = np.random.default_rng(2)
    bounds = []
    for size in (1e-4, 1e-3, 1e-2, 0.1, 1.0):
        for _ in range(5):
            w = best.w + size * rng.normal(size=F.size)
            if size <= 1e-2 and intercept:
                w[:-1] = best.w[:-1] if rng.random() < 0.3 else w[:-1]  # the intercept alone is off
            value, grad = F.value_and_grad(w)
            bound = gap_bound(F, w, grad)
            assert value - best.value <= bound * (1 + 1e-9) + 1e-14
            bounds.append((size, bound))
    assert all(math.isfinite(bound) for size, bound in bounds if size <= 1e-2)


def test_the_bound_is_small_where_a_fit_ends():
    F = objective(bd.Logistic(), intercept=True, alpha=1e-3, seed=3)
    result = bd.minimize(F, bd.NewtonCG(), F.zeros(), tol=1e-8)
    assert gap_bound(F, result.w, result.state.grad) < 1e-10 * result.value


def test_there_is_no_bound_without_a_penalty_or_for_a_loss_of_unknown_kind():
    F = objective(bd.Logistic(), intercept=True, alpha=0.0, seed=4)
    assert gap_bound(F, F.zeros(), np.ones(F.size)) is None

    class Mine:
        is_convex = True
        value_and_grad = staticmethod(bd.Logistic().value_and_grad)
        hess_dot = staticmethod(bd.Logistic().hess_dot)

    for intercept, known in ((True, False), (False, True)):
        F = objective(bd.Logistic(), intercept=intercept, alpha=0.1, seed=5)
        mine = bd.Objective(Mine(), F.predictor, F.penalty, F.blocks)
        grad = mine.value_and_grad(F.zeros())[1]
        assert (gap_bound(mine, F.zeros(), grad) is not None) == known
    Mine.is_convex = False
    assert gap_bound(mine, F.zeros(), grad) is None


def test_far_from_the_best_intercept_the_bound_is_the_duality_gap():
    F = objective(bd.Logistic(), intercept=True, alpha=0.1, seed=6)
    w, best = F.zeros(), bd.minimize(F, bd.NewtonCholesky(), F.zeros(), tol=1e-12)
    w[-1] = 30.0
    value, grad = F.value_and_grad(w)
    assert value - best.value <= gap_bound(F, w, grad) < math.inf
