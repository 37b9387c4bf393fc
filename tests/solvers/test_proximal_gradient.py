"""FISTA: minima by the residual and against other packages, its rate, and the length of its steps."""

import numpy as np
import pytest
import scipy.optimize
from scipy.special import expit
from sklearn.linear_model import ElasticNet, Lasso

from blockdot.errors import SpecError
from blockdot.solvers import ProximalGradient, Status, minimize
from blockdot.vectors import norm


class L1:
    """Σ λⱼ|wⱼ|."""

    name = "L1"

    def __init__(self, strength):
        self.strength = strength

    def value(self, w):
        return float(np.sum(self.strength * np.abs(w)))

    def prox(self, v, step):
        return np.sign(v) * np.maximum(np.abs(v) - step * self.strength, 0.0)

    def residual(self, w, grad):
        at_zero = np.sign(grad) * np.maximum(np.abs(grad) - self.strength, 0.0)
        return np.where(w == 0.0, at_zero, grad + self.strength * np.sign(w))


class Positive:
    """0 for w ≥ 0, infinite elsewhere."""

    name = "bounds"

    def value(self, w):
        return 0.0 if np.all(w >= 0.0) else np.inf

    def prox(self, v, step):
        return np.maximum(v, 0.0)

    def residual(self, w, grad):
        return np.where((w <= 0.0) & (grad > 0.0), 0.0, grad)


class Groups:
    """λ Σ ‖w_G‖ over groups of five."""

    name = "group lasso"

    def __init__(self, strength):
        self.strength = strength

    def value(self, w):
        return self.strength * float(np.sum(np.linalg.norm(w.reshape(-1, 5), axis=1)))

    def prox(self, v, step):
        return self._shrink(v, step * self.strength)

    def residual(self, w, grad):
        length = np.linalg.norm(w.reshape(-1, 5), axis=1, keepdims=True)
        unit = w.reshape(-1, 5) / np.where(length > 0.0, length, 1.0)
        inside = grad + self.strength * unit.ravel()
        return np.where(np.repeat(length[:, 0] > 0.0, 5), inside, self._shrink(grad, self.strength))

    def _shrink(self, v, by):
        length = np.linalg.norm(v.reshape(-1, 5), axis=1, keepdims=True)
        kept = np.maximum(1.0 - by / np.where(length > 0.0, length, 1.0), 0.0)
        return (v.reshape(-1, 5) * kept).ravel()


class Problem:
    """A mean loss of X w and a term; counts its calls."""

    def __init__(self, X, loss, grad, term, lift=0.0):
        self.X, self.functions, self.term, self.lift, self.calls = X, (loss, grad), term, lift, 0

    def gradient(self, w):
        return self.X.T @ self.functions[1](self.X @ w) / len(self.X)

    def value_and_grad(self, w):
        self.calls += 1
        return float(np.mean(self.functions[0](self.X @ w))) + self.lift, self.gradient(w)

    def residual(self, w):
        return norm(self.term.residual(w, self.gradient(w)))


def squares(X, y, term, lift=0.0):
    return Problem(X, lambda z: 0.5 * (z - y) ** 2, lambda z: z - y, term, lift)


def regression(seed, rows=120, columns=60, decades=0.0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, columns)) @ (np.eye(columns) + 0.1 * rng.normal(size=(columns, columns)))
    X *= np.logspace(-decades / 2, decades / 2, columns)
    return X, X[:, ::6] @ rng.normal(size=len(range(0, columns, 6))) + 0.5 * rng.normal(size=rows)


@pytest.mark.parametrize("decades", [0, 1])
@pytest.mark.parametrize("strength", [0.3, 0.03])
def test_the_lasso_is_that_of_scikit_learn(strength, decades):
    X, y = regression(1, decades=decades)
    problem = squares(X, y, L1(strength))
    result = minimize(problem, ProximalGradient(), np.zeros(60), tol=1e-9, max_iter=20_000)
    assert result.converged, result.message
    assert problem.residual(result.w) <= 1e-9 * result.grad_scale
    peer = Lasso(alpha=strength, fit_intercept=False, tol=1e-14, max_iter=1_000_000).fit(X, y).coef_
    np.testing.assert_allclose(result.w, peer, atol=1e-6 * max(1.0, np.abs(peer).max()))
    assert result.value == pytest.approx(problem.value_and_grad(peer)[0] + problem.term.value(peer), rel=1e-12)


def test_the_elastic_net_is_that_of_scikit_learn():
    X, y = regression(2, columns=200)
    wide = np.vstack([X, np.sqrt(120 * 0.02) * np.eye(200)])  # the ridge as more rows, whose targets are 0
    problem = squares(wide, np.append(y, np.zeros(200)), L1(0.08 * 120 / 320))
    result = minimize(problem, ProximalGradient(), np.zeros(200), tol=1e-10, max_iter=20_000)
    assert result.converged, result.message
    peer = ElasticNet(alpha=0.1, l1_ratio=0.8, fit_intercept=False, tol=1e-14, max_iter=1_000_000).fit(X, y).coef_
    np.testing.assert_allclose(result.w, peer, atol=1e-7)


def test_a_group_lasso_has_whole_groups_of_zeros():
    X, y = regression(3)
    problem = squares(X, y, Groups(0.5))
    result = minimize(problem, ProximalGradient(), np.zeros(60), tol=1e-10, max_iter=20_000)
    assert result.converged, result.message
    groups = result.w.reshape(-1, 5)
    gradient = problem.gradient(result.w).reshape(-1, 5)
    zero = ~groups.any(axis=1)
    assert 0 < zero.sum() < 12
    assert (np.linalg.norm(gradient[zero], axis=1) <= 0.5 + 1e-9).all()
    unit = groups[~zero] / np.linalg.norm(groups[~zero], axis=1, keepdims=True)
    np.testing.assert_allclose(gradient[~zero], -0.5 * unit, atol=1e-8)


def test_nonnegative_least_squares_are_those_of_scipy():
    X, y = regression(4, rows=50, columns=30)
    result = minimize(squares(X, y, Positive()), ProximalGradient(), np.full(30, -1.0), tol=1e-10, max_iter=20_000)
    assert result.converged, result.message
    peer, _ = scipy.optimize.nnls(X, y)
    np.testing.assert_allclose(result.w, peer, atol=1e-7)


def test_logistic_regression_without_a_term_has_no_gradient():
    X, z = regression(5)
    y = (z > 0).astype(float)
    ridge = np.vstack([X, np.eye(60)])
    problem = Problem(
        ridge,
        lambda z: np.append(np.logaddexp(0.0, z[:120]) - y * z[:120], 0.5 * z[120:] ** 2),
        lambda z: np.append(expit(z[:120]) - y, z[120:]),
        None,
    )
    result = minimize(problem, ProximalGradient(), np.zeros(60), tol=1e-10, max_iter=5000)
    assert result.converged, result.message
    assert norm(problem.gradient(result.w)) <= 1e-10 * result.grad_scale


def test_where_everything_is_zero_at_the_minimum_nothing_moves():
    X, y = regression(6)
    problem = squares(X, y, None)
    problem.term = L1(1.0001 * np.abs(problem.gradient(np.zeros(60))).max())
    assert minimize(problem, ProximalGradient(), np.zeros(60)).iterations == 0
    away = minimize(problem, ProximalGradient(), np.ones(60), tol=1e-12, max_iter=5000)
    assert away.converged, away.message
    assert not np.any(away.w)


def test_restarts_find_a_linear_rate():
    """κ = 10⁴: some √κ = 100 iterations for each factor e, where steps without momentum take 10⁴."""
    rng = np.random.default_rng(7)
    Q, _ = np.linalg.qr(rng.normal(size=(50, 50)))
    X = np.sqrt(50) * np.diag(np.logspace(0, -2, 50)) @ Q
    result = minimize(squares(X, X @ np.ones(50), L1(0.0)), ProximalGradient(), np.zeros(50), tol=1e-9, max_iter=9999)
    assert result.converged, result.message
    assert result.iterations <= 2500


@pytest.mark.parametrize("first", [None, 1e-9, 1.0, 1e9])
def test_the_first_step_does_not_matter_much(first):
    X, y = regression(8)
    problem = squares(X, y, L1(0.05))
    result = minimize(problem, ProximalGradient(first), np.zeros(60), tol=1e-8, max_iter=5000)
    best = minimize(problem, ProximalGradient(60.0 / np.linalg.norm(X, 2) ** 2), np.zeros(60), tol=1e-8, max_iter=5000)
    assert result.converged, result.message
    assert result.evaluations <= 1.5 * best.evaluations + 40


def test_a_step_may_grow_again_where_the_curvature_falls():
    """100 e^−w + w²/200: curvature 100 at the start, 0.08 at the minimum."""

    class Falling:
        term = L1(0.0)

        def value_and_grad(self, w):
            steep = 100.0 * np.exp(-w)
            return float(np.sum(steep + 0.005 * w * w)), 0.01 * w - steep

    states = []
    result = minimize(Falling(), ProximalGradient(0.01), np.zeros(1), tol=1e-9, max_iter=200, callbacks=[states.append])
    assert result.converged, result.message
    assert states[0].trial < 0.02 <= states[-1].trial


def test_it_goes_on_where_the_values_have_no_digits_left():
    X, y = regression(9)
    problem = squares(X, y, L1(0.05), lift=1e6)
    result = minimize(problem, ProximalGradient(), np.zeros(60), tol=1e-10, max_iter=5000)
    assert result.converged, result.message
    assert problem.residual(result.w) <= 1e-10 * result.grad_scale


def test_evaluations_are_the_calls_and_resuming_gives_the_same_bits():
    X, y = regression(10)
    problem, states = squares(X, y, L1(0.05)), []
    whole = minimize(problem, ProximalGradient(), np.zeros(60), tol=1e-7, max_iter=2000, callbacks=[states.append])
    assert whole.evaluations == problem.calls
    resumed = minimize(problem, ProximalGradient(), np.zeros(60), tol=1e-7, max_iter=2000, resume_from=states[7])
    assert resumed.w.tobytes() == whole.w.tobytes()
    assert resumed.evaluations == whole.evaluations
    assert states[7].value == pytest.approx(states[7].smooth_value + problem.term.value(states[7].w), rel=1e-15)


def test_an_objective_without_a_minimum_is_not_said_to_converge():
    class Falling:
        term = L1(0.5)

        def value_and_grad(self, w):
            return float(w[0]), np.array([1.0, 0.0])

    result = minimize(Falling(), ProximalGradient(), np.array([3.0, 2.0]), max_iter=2000)
    assert not result.converged


def test_a_gradient_that_is_wrong_stalls():
    class Wrong:
        term = L1(0.1)

        def value_and_grad(self, w):
            return float(np.any(w != 1.0)), -2.0 * w

    result = minimize(Wrong(), ProximalGradient(), np.ones(2), max_iter=500)
    assert result.status is Status.STALLED
    assert result.iterations == 0


@pytest.mark.parametrize("value", [0.0, -1.0, np.inf, np.nan])
def test_a_first_step_must_be_positive_and_finite(value):
    with pytest.raises(SpecError, match=r"ProximalGradient\(step_size="):
        ProximalGradient(value)
