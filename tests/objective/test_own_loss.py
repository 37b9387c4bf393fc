"""The page about losses of one's own: its program runs, and what it says of its loss is so."""

import re
from pathlib import Path

import numpy as np
import pytest

import blockdot as bd

PAGE = Path(__file__).parents[2] / "docs/losses.md"


@pytest.fixture(scope="module")
def page():
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    names = {"__name__": "page"}
    exec(compile(program, PAGE.name, "exec"), names)
    return names


def test_the_program_finds_what_the_rows_were_made_of(page):
    assert page["result"].converged
    assert np.abs(page["coef"] - np.arange(20.0)).max() < 0.3
    squares = bd.LinearRegression(alpha=1e-4).fit(page["X"], page["y"])
    assert np.abs(squares.coef_ - np.arange(20.0)).max() > 0.3  # Cauchy errors have no variance


def test_its_derivatives(page):
    loss, rng = page["LogCosh"](), np.random.default_rng(1)
    y, z, s, u = rng.normal(size=(4, 50)) * 3
    h = 1e-6
    value, grad = loss.value_and_grad(y, z, s)
    assert value == loss.value(y, z, s)
    assert grad @ u == pytest.approx((loss.value(y, z + h * u, s) - loss.value(y, z - h * u, s)) / (2 * h), abs=1e-6)
    slope = (loss.value_and_grad(y, z + h * u, s)[1] - loss.value_and_grad(y, z - h * u, s)[1]) / (2 * h)
    np.testing.assert_allclose(loss.hess_dot(y, z, s, u), slope, atol=1e-7)
    assert np.isfinite(loss.value(np.zeros(2), np.array([-1e4, 1e4]), 1.0))


def test_it_serves_an_l1_penalty_and_a_network(page):
    with page["dataset"].on(bd.ThreadPool(2)) as blocks:
        lasso = bd.Objective(page["LogCosh"](), bd.Linear(), bd.ElasticNet(0.05, 1.0), blocks)
        assert bd.minimize(lasso, bd.ProximalNewton(), lasso.zeros()).converged
        network = bd.Objective(page["LogCosh"](), bd.Network((4,), "tanh"), bd.L2(1e-2), blocks)
        start = np.random.default_rng(0).normal(size=network.size) * 0.1
        result = bd.minimize(network, bd.LBFGS(), start, tol=1e-3, max_iter=500)
        assert result.value < 0.5 * network.value(start)
