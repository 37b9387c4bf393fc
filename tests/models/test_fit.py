"""The way from data to a model: which solver is chosen and why, what is reported, and the same bits everywhere."""

import logging

import numpy as np
import pytest
import scipy.sparse as sp

import blockdot as bd
from blockdot.models.fit import Recipe, fit
from blockdot.models.kinds import KINDS, Kind


def rows(n=600, d=2000, a_row=12, seed=0):
    """``a_row`` ones in each row, the first four columns real-valued and full."""
    rng = np.random.default_rng(seed)
    X = sp.lil_array((n, d))
    for i in range(n):
        X[i, rng.choice(d - 4, a_row, replace=False) + 4] = 1.0
    X[:, :4] = rng.normal(size=(n, 4))
    w = rng.normal(size=d) * (rng.random(d) < 0.5)
    return sp.csr_array(X), (rng.random(n) < 1 / (1 + np.exp(-(X @ w) / 2))).astype(float)


@pytest.mark.parametrize(
    ("d", "a_row", "solver", "reason"),
    [
        (100, 5, "Newton-Cholesky", "features occur: their Hessian is a small matrix"),
        (20_000, 12, "Newton-CG", "the Hessian is used by products, never made"),
        (900, 400, "Newton-CG", "products with the Hessian are cheaper than its matrix"),
    ],
)
def test_auto_chooses_by_the_data_and_logs_why(d, a_row, solver, reason, caplog):
    X, y = rows(n=400, d=d, a_row=a_row)
    with caplog.at_level(logging.INFO, "blockdot"):
        model, result = fit(bd.Dataset.from_arrays(X, y), Recipe("logistic", alpha=1e-3), bd.ThreadPool(2))
    assert result.converged
    assert model.info.fit.solver == solver
    assert any(solver in line and reason in line for line in caplog.messages)


def test_auto_is_lbfgs_for_a_loss_without_a_second_derivative(monkeypatch):
    class Once:
        value_and_grad = staticmethod(bd.Squared().value_and_grad)

    monkeypatch.setitem(KINDS, "squared", Kind(Once, "numbers"))
    X, y = rows(seed=5)
    model, result = fit(bd.Dataset.from_arrays(X, y), Recipe("squared", alpha=0.1, max_iter=500), bd.ThreadPool(2))
    assert result.converged
    assert model.info.fit.solver == "L-BFGS"
    assert model.info.fit.gap_bound is None


@pytest.mark.parametrize("loss", ["logistic", "squared"])
@pytest.mark.parametrize("intercept", [True, False])
def test_every_solver_finds_the_same_minimum(loss, intercept):
    data = bd.Dataset.from_arrays(*rows(seed=1), block_rows=150)
    values = {}
    for solver in ("newton-cg", "newton-cholesky", "lbfgs"):
        recipe = Recipe(loss, alpha=1e-2, fit_intercept=intercept, solver=solver, tol=1e-9, max_iter=5000)
        model, result = fit(data, recipe, bd.ThreadPool(2))
        assert result.converged, result.message
        values[solver] = model.info.fit.value
        assert 0 <= model.info.fit.gap_bound <= 1e-10 * model.info.fit.value
    assert max(values.values()) <= min(values.values()) * (1 + 1e-12)


@pytest.mark.parametrize("solver", ["newton-cg", "newton-cholesky"])
def test_the_same_bits_for_any_number_of_threads(solver):
    data = bd.Dataset.from_arrays(*rows(seed=2), block_rows=50)
    recipe = Recipe("logistic", alpha=1e-4, solver=solver, tol=1e-10)
    bits = {fit(data, recipe, bd.ThreadPool(t))[0].coef.tobytes() for t in (1, 2, 3, 5)}
    assert len(bits) == 1


def test_a_fit_without_a_penalty_has_no_bound():
    data = bd.Dataset.from_arrays(*rows(seed=3))
    model, _ = fit(data, Recipe("squared", alpha=0.0), bd.ThreadPool(2))
    assert model.info.fit.gap_bound is None
    assert model.info.fit.grad_norm <= 1e-5


@pytest.mark.parametrize(("loss", "link"), [("poisson", "log"), ("squared", None), ("logistic", None)])
def test_the_constant_model_knows_the_offsets(loss, link):
    """It is the best intercept beside them: no other constant has a smaller loss."""
    rng = np.random.default_rng(6)
    X, offset = rng.normal(size=(300, 3)), rng.normal(-1.0, 1.0, 300)
    y = rng.poisson(np.exp(offset)).astype(float)
    y = np.minimum(y, 1.0) if loss == "logistic" else y
    data = bd.Dataset.from_arrays(X, y, offset=offset)
    recipe = Recipe(loss, {} if link is None else {"link": link}, alpha=0.1)
    constant = fit(data, recipe, bd.ThreadPool(1))[0].constant()
    (b,) = constant.tail
    assert constant.dense_coef().tolist() == [0, 0, 0]
    _, slope = constant.loss.value_and_grad(y, b + offset, 1.0)
    assert abs(np.mean(slope)) < 1e-7
    if loss == "poisson":
        assert np.exp(b) == pytest.approx(y.sum() / np.exp(offset).sum(), rel=1e-6)
