"""Newton on faces: minima by the residual and against other packages, the count of products, and what is refused."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
import scipy.optimize
from scipy.special import expit
from sklearn.linear_model import ElasticNet, Lasso, LogisticRegression

from blockdot.errors import SpecError
from blockdot.solvers import OWLQN, NewtonCG, ProximalNewton, Status, minimize
from blockdot.solvers.proximal_newton import _scaled_gradient_step
from blockdot.solvers.term import Zero, can_move, term_of
from blockdot.vectors import norm


class Face(NamedTuple):
    lower: np.ndarray
    upper: np.ndarray
    slope: np.ndarray


class Bounded:
    """Σ λⱼ|wⱼ| in a box."""

    name = "L1 in a box"

    def __init__(self, l1, lower=-np.inf, upper=np.inf, size=None):
        self.l1, self.lower, self.upper = (
            np.broadcast_to(np.asarray(a, float), (size,)) if size else np.asarray(a, float) for a in (l1, lower, upper)
        )

    def value(self, w):
        inside = np.all((w >= self.lower) & (w <= self.upper))
        return float(np.sum(self.l1 * np.abs(w))) if inside else np.inf

    def prox(self, v, step):
        return np.clip(np.sign(v) * np.maximum(np.abs(v) - step * self.l1, 0.0), self.lower, self.upper)

    def residual(self, w, grad):
        least = np.where(w <= self.lower, -np.inf, grad + np.where(w > 0, self.l1, -self.l1))
        most = np.where(w >= self.upper, np.inf, grad + np.where(w < 0, -self.l1, self.l1))
        return np.clip(0.0, least, most)

    def face(self, w, residual):
        sign = np.where(w != 0.0, np.sign(w), -np.sign(residual))
        lower = np.where((self.l1 == 0) | (sign < 0), self.lower, np.maximum(self.lower, 0.0))
        upper = np.where((self.l1 == 0) | (sign > 0), self.upper, np.minimum(self.upper, 0.0))
        return Face(lower, upper, self.l1 * sign)


class Problem:
    """A mean loss of X w plus a ridge, and a term; counts what is asked of it."""

    def __init__(self, X, loss, grad, curvature, term, ridge=0.0):
        self.X, self.term, self.ridge = X, term, ridge
        self.functions = loss, grad, curvature
        self.asked = []
        self.parts = 1

    def value(self, w):
        self.asked.append("value")
        return float(np.mean(self.functions[0](self.X @ w)) + 0.5 * self.ridge * (w @ w))

    def value_and_grad(self, w):
        value = self.value(w)
        self.asked[-1] = "value_and_grad"
        return value, self.gradient(w)

    def gradient(self, w):
        return self.X.T @ self.functions[1](self.X @ w) / len(self.X) + self.ridge * w

    def hess_vec(self, w, v):
        self.asked.append("hess_vec")
        return self.X.T @ (self.functions[2](self.X @ w) * (self.X @ v)) / len(self.X) + self.ridge * v

    def hess_diag(self, w):
        self.asked.append("hess_diag")
        return np.mean(self.functions[2](self.X @ w)[:, None] * self.X**2, axis=0) + self.ridge

    def sampled_hessian(self, w, m):
        matrix = self.hessian(w)
        return [(part, matrix[np.ix_(part, part)]) for part in np.array_split(np.arange(min(m, len(w))), self.parts)]

    def mean_hessian(self, w, m):
        head = np.arange(min(m, len(w)))
        return head[np.newaxis], self.hessian(w)[np.ix_(head, head)]

    def hessian(self, w):
        return (self.X.T * self.functions[2](self.X @ w)) @ self.X / len(self.X) + self.ridge * np.eye(len(w))

    def residual(self, w):
        """How far ``w`` is from the minimum, by the definition of the subgradient."""
        return norm(self.term.residual(w, self.gradient(w)))

    def total(self, w):
        return self.value(w) + self.term.value(w)


def squares(X, y, term, ridge=0.0):
    return Problem(X, lambda z: 0.5 * (z - y) ** 2, lambda z: z - y, np.ones_like, term, ridge)


def logistic(X, y, term, ridge=0.0):
    def curvature(z):
        return expit(z) * expit(-z)

    return Problem(X, lambda z: np.logaddexp(0.0, z) - y * z, lambda z: expit(z) - y, curvature, term, ridge)


def regression(seed, rows=120, columns=60, collinear=0.0, decades=0.0):
    """X and y; with ``collinear`` near 1 neighbouring columns hardly differ."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, columns))
    for j in range(1, columns):
        X[:, j] = collinear * X[:, j - 1] + np.sqrt(1.0 - collinear**2) * X[:, j]
    X *= np.logspace(-decades / 2, decades / 2, columns)
    truth = np.where(rng.random(columns) < 0.2, rng.normal(size=columns), 0.0) / np.linalg.norm(X, axis=0)
    return X, X @ truth * np.sqrt(rows) + 0.1 * rng.normal(size=rows)


def classes(seed, **shape):
    X, z = regression(seed, **shape)
    return X, (np.random.default_rng(seed + 1).random(len(z)) < expit(3.0 * z)).astype(float)


def l1_limit(problem):
    """The least α at which the minimum is 0."""
    return float(np.max(np.abs(problem.gradient(np.zeros(problem.X.shape[1])))))


SOLVERS = [ProximalNewton(), ProximalNewton(head=0), ProximalNewton(head=20, forcing=0.9)]


@pytest.mark.parametrize("solver", SOLVERS, ids=str)
@pytest.mark.parametrize("collinear", [0.0, 0.9, 0.999])
@pytest.mark.parametrize("share", [0.5, 0.05, 0.003])
def test_the_lasso_is_that_of_scikit_learn(solver, collinear, share):
    X, y = regression(seed=1, collinear=collinear)
    problem = squares(X, y, None)
    alpha = share * l1_limit(problem)
    problem.term = Bounded(alpha, size=60)
    result = minimize(problem, solver, np.zeros(60), tol=1e-10)
    assert result.converged, result.message
    assert problem.residual(result.w) <= 1e-10 * result.grad_scale
    assert result.value == pytest.approx(problem.total(result.w), rel=1e-14)
    peer = Lasso(alpha=alpha, fit_intercept=False, tol=1e-14, max_iter=1_000_000).fit(X, y).coef_
    assert result.value <= problem.total(peer) + 1e-14
    np.testing.assert_allclose(result.w, peer, atol=1e-5 * np.abs(peer).max())
    assert np.array_equal(result.w != 0.0, np.abs(peer) > 1e-9 * np.abs(peer).max())


def test_the_elastic_net_is_that_of_scikit_learn():
    X, y = regression(seed=2, columns=300, collinear=0.95)
    problem = squares(X, y, None)
    alpha, rho = 0.02 * l1_limit(problem), 0.7
    problem.term, problem.ridge = Bounded(alpha * rho, size=300), alpha * (1.0 - rho)
    result = minimize(problem, ProximalNewton(), np.zeros(300), tol=1e-11)
    assert result.converged, result.message
    peer = ElasticNet(alpha=alpha, l1_ratio=rho, fit_intercept=False, tol=1e-15, max_iter=1_000_000).fit(X, y).coef_
    np.testing.assert_allclose(result.w, peer, atol=1e-7)


@pytest.mark.parametrize("share", [0.3, 0.03, 0.003])
def test_logistic_regression_with_an_l1_penalty_is_that_of_liblinear(share):
    X, y = classes(seed=3, rows=300, columns=80, collinear=0.7)
    problem = logistic(X, y, None)
    alpha = share * l1_limit(problem)
    problem.term = Bounded(alpha, size=80)
    result = minimize(problem, ProximalNewton(), np.zeros(80), tol=1e-10)
    assert result.converged, result.message
    assert problem.residual(result.w) <= 1e-10 * result.grad_scale
    peer = LogisticRegression(
        C=1.0 / (alpha * 300), l1_ratio=1.0, solver="liblinear", fit_intercept=False, tol=1e-8, random_state=0
    )
    coef = peer.fit(X, y).coef_[0]
    assert result.value <= problem.total(coef) + 1e-14
    np.testing.assert_allclose(result.w, coef, atol=1e-4 * np.abs(coef).max())


def test_weights_without_a_penalty_are_free_of_faces():
    """The first and the last column bear no penalty: there the gradient itself vanishes."""
    X, y = classes(seed=4)
    l1 = np.full(60, 0.02)
    l1[[0, -1]] = 0.0
    problem = logistic(X, y, Bounded(l1, size=60))
    result = minimize(problem, ProximalNewton(), np.zeros(60), tol=1e-10)
    assert result.converged, result.message
    gradient = problem.gradient(result.w)
    assert np.abs(gradient[[0, -1]]).max() < 1e-10
    assert (np.abs(gradient) <= l1 + 1e-10).all()
    assert 2 < np.count_nonzero(result.w) < 50


def test_where_everything_is_zero_at_the_minimum_nothing_moves():
    X, y = regression(seed=5)
    problem = squares(X, y, None)
    problem.term = Bounded(1.0001 * l1_limit(problem), size=60)
    result = minimize(problem, ProximalNewton(), np.zeros(60))
    assert result.converged
    assert result.iterations == 0
    away = minimize(problem, ProximalNewton(), np.random.default_rng(0).normal(size=60), tol=1e-12)
    assert away.converged, away.message
    assert not np.any(away.w)


@pytest.mark.parametrize("solver", SOLVERS, ids=str)
@pytest.mark.parametrize("decades", [0, 2])
def test_bounded_least_squares_are_those_of_scipy(solver, decades):
    X, y = regression(seed=6, collinear=0.8, decades=decades)
    scale = np.linalg.norm(X, axis=0) / np.sqrt(len(X))
    lower, upper = -0.2 / scale, 0.5 / scale
    problem = squares(X, y, Bounded(0.0, lower, upper, size=60))
    result = minimize(problem, solver, np.zeros(60), tol=1e-10)
    assert result.converged, result.message
    peer = scipy.optimize.lsq_linear(X, y, (lower, upper), tol=1e-14, method="bvls").x
    np.testing.assert_allclose(result.w * scale, peer * scale, atol=1e-8)
    at_bounds = (result.w == lower) | (result.w == upper)
    assert 5 < at_bounds.sum() < 55


def test_nonnegative_least_squares_are_those_of_scipy():
    for seed in range(5):
        X, y = regression(seed=seed, rows=50, columns=40, collinear=0.9)
        problem = squares(X, y, Bounded(0.0, 0.0, size=40))
        result = minimize(problem, ProximalNewton(), np.ones(40), tol=1e-11)
        assert result.converged, result.message
        peer, _ = scipy.optimize.nnls(X, y)
        np.testing.assert_allclose(result.w, peer, atol=1e-8 * peer.max())


def test_a_start_outside_of_the_bounds_is_moved_inside():
    X, y = regression(seed=7)
    problem = squares(X, y, Bounded(0.0, -0.1, 0.1, size=60))
    result = minimize(problem, ProximalNewton(), np.full(60, 5.0), tol=1e-10)
    assert result.converged, result.message
    assert np.abs(result.w).max() <= 0.1


def test_the_value_falls_at_every_step_and_weights_may_change_sides():
    X, y = classes(seed=8, collinear=0.95)
    problem = logistic(X, y, Bounded(1e-3, size=60))
    points = []
    start = np.random.default_rng(8).normal(size=60)
    result = minimize(problem, ProximalNewton(), start, tol=1e-10, callbacks=[points.append])
    assert result.converged, result.message
    assert all(after.value <= before.value * (1.0 + 1e-12) for before, after in pairwise(result.trace))
    assert np.any(result.w * start < 0.0)
    for before, after in pairwise(points):
        assert np.all(before.w * after.w >= 0.0)  # never from one side to the other in one step


def test_the_last_steps_converge_faster_than_linearly():
    X, y = classes(seed=9)
    result = minimize(logistic(X, y, Bounded(5e-3, size=60)), ProximalNewton(), np.zeros(60), tol=1e-13)
    norms = [point.grad_norm / result.grad_scale for point in result.trace]
    assert result.converged, result.message
    assert norms[-1] < 0.1 * norms[-2] < 0.01 * norms[-3]


def test_without_a_term_it_needs_about_as_many_passes_as_newton_cg():
    X, y = classes(seed=10, collinear=0.9)
    problem = logistic(X, y, None, ridge=1e-3)
    problem.value_along = lambda w, d, t: problem.value(w + t * d)
    one = minimize(problem, ProximalNewton(), np.zeros(60), tol=1e-10)
    other = minimize(problem, NewtonCG(), np.zeros(60), tol=1e-10)
    assert one.converged
    assert one.evaluations <= other.evaluations
    np.testing.assert_allclose(one.w, other.w, atol=1e-7)


@pytest.mark.parametrize("collinear", [0.0, 0.9, 0.99, 0.999])
def test_it_needs_no_more_products_than_newton_cg_without_the_term(collinear):
    """300 columns, of which neighbours hardly differ: bounds are met by dozens, and a step takes few products."""
    X, y = classes(seed=20, rows=1000, columns=300, collinear=collinear)
    problem = logistic(X, y, None)
    problem.term = Bounded(0.01 * l1_limit(problem), size=300)
    result = minimize(problem, ProximalNewton(), np.zeros(300), tol=1e-8)
    assert result.converged, result.message
    smooth = logistic(X, y, None, ridge=1e-4)
    smooth.value_along = lambda w, d, t: smooth.value(w + t * d)
    peer = minimize(smooth, NewtonCG(), np.zeros(300), tol=1e-8)
    assert peer.converged
    assert problem.asked.count("hess_vec") <= 25
    assert problem.asked.count("hess_vec") <= smooth.asked.count("hess_vec")
    assert result.evaluations <= 40
    assert "value" not in problem.asked  # every full step was accepted


def test_the_head_saves_products():
    counts = []
    for head in (0, 300):
        X, y = classes(seed=21, rows=1000, columns=300, collinear=0.9)
        problem = logistic(X, y, None)
        problem.term = Bounded(0.01 * l1_limit(problem), size=300)
        assert minimize(problem, ProximalNewton(head=head), np.zeros(300), tol=1e-8).converged
        counts.append(problem.asked.count("hess_vec"))
    assert counts[1] < 0.1 * counts[0]


def test_each_output_has_a_head_of_its_own():
    counts = []
    for parts in (1, 3):
        X, y = classes(seed=22, collinear=0.9)
        problem = logistic(X, y, Bounded(1e-3, size=60))
        problem.parts = parts
        result = minimize(problem, ProximalNewton(), np.zeros(60), tol=1e-10)
        assert result.converged, result.message
        assert problem.residual(result.w) <= 1e-10 * result.grad_scale
        counts.append(problem.asked.count("hess_vec"))
    assert counts[0] <= counts[1]


def test_resuming_from_a_state_gives_the_bits_of_one_run():
    X, y = classes(seed=11, collinear=0.99)
    states = []
    whole = minimize(
        logistic(X, y, Bounded(1e-3, size=60)), ProximalNewton(), np.zeros(60), tol=1e-9, callbacks=[states.append]
    )
    resumed = minimize(
        logistic(X, y, Bounded(1e-3, size=60)), ProximalNewton(), np.zeros(60), tol=1e-9, resume_from=states[2]
    )
    assert resumed.w.tobytes() == whole.w.tobytes()
    assert resumed.evaluations == whole.evaluations


def test_evaluations_are_the_calls():
    X, y = classes(seed=12, collinear=0.99)
    problem = logistic(X, y, Bounded(1e-3, size=60))
    result = minimize(problem, ProximalNewton(), np.zeros(60), tol=1e-9)
    assert result.evaluations == len(problem.asked)


def test_what_is_held_is_what_a_bound_holds():
    lower, upper = np.array([0.0, 0.0, 0.0, -1.0, -1.0, 0.0]), np.array([9.0, 9.0, 0.0, 0.0, 0.0, 9.0])
    w = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 3.0])
    residual = np.array([1.0, -1.0, 5.0, 1.0, -1.0, 0.0])
    expected = [False, True, False, True, False, True]
    assert can_move(Face(lower, upper, w), w, residual).tolist() == expected


def test_a_group_lasso_is_refused_in_words():
    class Groups(Bounded):
        name = "group lasso"

        def face(self, w, residual):
            return None

    X, y = regression(seed=13)
    problem = squares(X, y, Groups(0.1, size=60))
    for solver in (ProximalNewton(), OWLQN()):
        with pytest.raises(SpecError, match=r"linear, and group lasso has none: choose ProximalGradient\(\)"):
            minimize(problem, solver, np.zeros(60))
    assert problem.asked == []


def test_the_scaled_gradient_step_lowers_the_value_and_stalls_at_the_minimum():
    X, y = regression(seed=14, collinear=0.9, decades=3)
    problem = squares(X, y, None)
    problem.term = Bounded(0.01 * l1_limit(problem), size=60)
    solver = ProximalNewton()
    state = solver.init(problem, np.ones(60))
    for _ in range(5):
        found = _scaled_gradient_step(problem, problem.term, state)
        assert found.value < state.value
        assert found.value == pytest.approx(problem.total(found.w), rel=1e-14)
        state = state._replace(w=found.w, value=found.value, smooth_grad=found.grad)
    zero = squares(X, y, Bounded(1.01 * l1_limit(problem), size=60))
    assert not hasattr(_scaled_gradient_step(zero, zero.term, solver.init(zero, np.zeros(60))), "w")


def test_a_gradient_that_is_wrong_stalls():
    X, y = regression(seed=15)
    problem = squares(X, y, Bounded(0.01, size=60))
    problem.value = lambda w: float(np.any(w))
    problem.value_and_grad = lambda w: (problem.value(w), -problem.gradient(w))
    result = minimize(problem, ProximalNewton(), np.zeros(60))
    assert result.status is Status.STALLED
    assert result.iterations == 0
    assert "floating-point precision" in result.message


@pytest.mark.parametrize(("settings", "words"), [({"forcing": 2.0}, "between 0 and 1"), ({"head": -1}, "0 or more")])
def test_settings_are_checked(settings, words):
    with pytest.raises(SpecError, match=rf"ProximalNewton\({next(iter(settings))}=.*{words}"):
        ProximalNewton(**settings)


def test_an_objective_without_a_term_has_the_term_zero():
    w, g = np.array([1.0, 0.0]), np.array([2.0, -3.0])
    term = term_of(object())
    assert term == Zero()
    assert term.value(w) == 0.0
    assert (term.prox(w, 0.5) == w).all()
    assert (term.residual(w, g) == g).all()
    assert can_move(term.face(w, g), w, g).all()
