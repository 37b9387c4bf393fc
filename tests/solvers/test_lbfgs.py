"""L-BFGS: the recursion by its definition, and minima by their optimality conditions and against SciPy."""

import numpy as np
import pytest
import scipy.optimize
from scipy.special import expit

from blockdot.errors import SpecError
from blockdot.solvers import LBFGS, Status, minimize
from blockdot.solvers.lbfgs import Pair, apply_inverse, remember
from blockdot.vectors import inner, norm


class Function:
    """A pair of functions as an objective."""

    def __init__(self, value, grad):
        self.value, self.grad = value, grad

    def value_and_grad(self, w):
        return self.value(w), self.grad(w)


class Logistic:
    """Mean logistic loss and a ridge, with features whose scales spread over ``decades``."""

    def __init__(self, seed, decades, alpha=1e-3, rows=400, columns=20):
        rng = np.random.default_rng(seed)
        scales = np.logspace(-decades / 2, decades / 2, columns)
        self.X = rng.normal(size=(rows, columns)) * scales
        self.y = (rng.random(rows) < expit(self.X @ (rng.normal(size=columns) / scales))).astype(float)
        self.alpha = alpha

    def value_and_grad(self, w):
        z = self.X @ w
        loss = np.logaddexp(0.0, (1.0 - 2.0 * self.y) * z).mean()
        grad = self.X.T @ (expit(z) - self.y) / len(z)
        return float(loss + 0.5 * self.alpha * (w @ w)), grad + self.alpha * w


ROSENBROCK = Function(scipy.optimize.rosen, scipy.optimize.rosen_der)


def test_the_two_loop_recursion_is_the_bfgs_update():
    rng = np.random.default_rng(1)
    A = np.diag(rng.uniform(1.0, 50.0, 6))
    pairs = tuple(Pair(s, A @ s, inner(s, A @ s)) for s in rng.normal(size=(4, 6)))
    newest = pairs[-1]
    H = np.eye(6) * newest.sy / inner(newest.y, newest.y)
    for s, y, sy in pairs:  # Nocedal & Wright, eq. 6.17
        V = np.eye(6) - np.outer(y, s) / sy
        H = V.T @ H @ V + np.outer(s, s) / sy
    v = rng.normal(size=6)
    np.testing.assert_allclose(apply_inverse(pairs, v), H @ v, rtol=1e-10)
    np.testing.assert_allclose(apply_inverse(pairs, newest.y), newest.s, rtol=1e-9)  # the secant equation
    alone = apply_inverse((), v)
    assert (alone == v).all()
    assert alone is not v


@pytest.mark.parametrize("n", [2, 10, 60])
def test_rosenbrock(n):
    start = np.full(n, -1.2)
    result = minimize(ROSENBROCK, LBFGS(), start, tol=1e-10, max_iter=1000)
    assert result.converged
    np.testing.assert_allclose(result.w, 1.0, atol=1e-6)
    peer = scipy.optimize.minimize(
        ROSENBROCK.value_and_grad,
        start,
        jac=True,
        method="L-BFGS-B",
        options={"ftol": 0.0, "gtol": 1e-10 * result.grad_scale, "maxiter": 5000},
    )
    assert result.evaluations <= 1.5 * peer.nfev + 10


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("decades", [0, 1, 2])
def test_ill_scaled_logistic_regression(seed, decades):
    objective = Logistic(seed, decades)
    result = minimize(objective, LBFGS(), np.zeros(20), tol=1e-10, max_iter=1500)
    assert result.converged, result.message
    assert norm(objective.value_and_grad(result.w)[1]) <= 1e-10 * result.grad_scale
    peer = scipy.optimize.minimize(objective.value_and_grad, np.zeros(20), jac=True, method="BFGS")
    assert result.value <= peer.fun + 1e-12


@pytest.mark.parametrize("seed", range(3))
def test_it_needs_no_more_passes_than_scipy(seed):
    objective = Logistic(seed, 1.0)
    result = minimize(objective, LBFGS(), np.zeros(20), tol=1e-6, max_iter=500)
    peer = scipy.optimize.minimize(
        objective.value_and_grad,
        np.zeros(20),
        jac=True,
        method="L-BFGS-B",
        options={"ftol": 0.0, "gtol": 1e-6 * result.grad_scale / np.sqrt(20), "maxiter": 500},
    )
    assert result.converged
    assert result.evaluations <= 1.3 * peer.nfev + 5


def test_other_problems_agree_with_scipy():
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(80, 5)), rng.poisson(2.0, 80)
    poisson = Function(
        lambda w: float(np.mean(np.exp(X @ w) - y * (X @ w))), lambda w: X.T @ (np.exp(X @ w) - y) / len(y)
    )
    beale = Function(
        lambda w: float(sum((c - w[0] * (1 - w[1] ** k)) ** 2 for k, c in ((1, 1.5), (2, 2.25), (3, 2.625)))),
        lambda w: sum(
            2 * (c - w[0] * (1 - w[1] ** k)) * np.array([w[1] ** k - 1, w[0] * k * w[1] ** (k - 1)])
            for k, c in ((1, 1.5), (2, 2.25), (3, 2.625))
        ),
    )
    for objective, start in ((poisson, np.zeros(5)), (poisson, np.full(5, 2.0)), (beale, np.ones(2))):
        result = minimize(objective, LBFGS(), start, tol=1e-9, grad_scale=1.0, max_iter=500)
        assert result.converged, result.message
        peer = scipy.optimize.minimize(objective.value_and_grad, start * 0.1, jac=True, method="BFGS", tol=1e-8)
        assert peer.success
        np.testing.assert_allclose(result.w, peer.x, atol=1e-6)


def test_it_goes_on_where_the_values_have_no_digits_left():
    lifted = Function(lambda w: 1e4 + 0.5 * float(np.sum(w * w * [1.0, 30.0])), lambda w: w * [1.0, 30.0])
    result = minimize(lifted, LBFGS(), np.array([5.0, 2.0]), tol=1e-12, max_iter=60)
    assert result.converged
    assert norm(result.w) < 1e-10


@pytest.mark.parametrize("memory", [1, 3, 10])
def test_memory_holds_the_newest_pairs(memory):
    states = []
    minimize(ROSENBROCK, LBFGS(memory), np.full(6, -1.2), max_iter=14, callbacks=[states.append])
    assert [len(s.pairs) for s in states] == [min(i, memory) for i in range(1, 15)]
    before, after = states[-2:]
    newest = after.pairs[-1]
    assert (newest.s == after.w - before.w).all()
    assert (newest.y == after.grad - before.grad).all()
    assert newest.sy == inner(newest.s, newest.y) > 0.0


def test_a_pair_lost_in_rounding_is_not_kept():
    s = np.array([1.0, 0.0])
    assert remember((), s, np.array([1e-17, 1.0]), 10) == ()
    assert remember((), s, np.array([-1.0, 0.0]), 10) == ()
    assert remember((), s, np.array([0.0, 0.0]), 10) == ()
    assert remember((), s, np.array([np.nan, 0.0]), 10) == ()
    assert len(remember((), 1e-150 * s, np.array([1e-150, 1e-150]), 10)) == 1


def test_a_misleading_memory_is_forgotten_before_giving_up():
    objective = Logistic(0, 1.0)
    solver = LBFGS()
    state = solver.init(objective, np.zeros(20))
    uphill = Pair(state.grad, -state.grad, -inner(state.grad, state.grad))
    after = solver.step(objective, state._replace(pairs=(uphill,)))
    assert after.status is None
    assert after.value < state.value
    assert len(after.pairs) == 1
    assert after.pairs[0].sy > 0.0


def test_a_kink_is_a_stall_not_a_minimum():
    # At (0.5, 0) the gradient handed out is not zero, yet no step along it lowers the value: |w| has a kink there.
    kink = Function(lambda w: float(np.sum(np.abs(w))), lambda w: np.where(w >= 0.0, 1.0, -1.0))
    result = minimize(kink, LBFGS(), np.array([0.5, 0.0]), max_iter=200)
    assert result.status is Status.STALLED
    assert result.relative_grad_norm == pytest.approx(1.0)


def test_bits_do_not_depend_on_the_run():
    runs = [minimize(Logistic(0, 1.0), LBFGS(), np.zeros(20), max_iter=40) for _ in range(2)]
    assert runs[0].w.tobytes() == runs[1].w.tobytes()


def test_memory_must_hold_a_pair():
    with pytest.raises(SpecError, match=r"LBFGS\(memory=0\)"):
        LBFGS(0)
