"""OWL-QN: minima by the residual, against L-BFGS-B and scikit-learn, and its steps by their definition."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
import scipy.optimize
from scipy.special import expit
from sklearn.linear_model import Lasso

from blockdot.errors import SpecError
from blockdot.solvers import LBFGS, OWLQN, Status, minimize
from blockdot.solvers.line_search import Accepted, NoStep, Reason
from blockdot.solvers.term import projected_path, search
from blockdot.vectors import inner, norm


class Face(NamedTuple):
    lower: np.ndarray
    upper: np.ndarray
    slope: np.ndarray


class L1:
    """Σ λⱼ|wⱼ|."""

    name = "L1"

    def __init__(self, strength):
        self.strength = strength

    def value(self, w):
        return float(np.sum(self.strength * np.abs(w)))

    def residual(self, w, grad):
        at_zero = np.sign(grad) * np.maximum(np.abs(grad) - self.strength, 0.0)
        return np.where(w == 0.0, at_zero, grad + self.strength * np.sign(w))

    def face(self, w, residual):
        sign = np.where(w != 0.0, np.sign(w), -np.sign(residual))
        ends = np.full(w.shape, np.inf)
        return Face(np.where(sign < 0, -ends, 0.0), np.where(sign > 0, ends, 0.0), self.strength * sign)


class Box:
    """0 in [lower, upper], infinite elsewhere."""

    name = "bounds"

    def __init__(self, lower, upper):
        self.lower, self.upper = lower, upper

    def value(self, w):
        return 0.0 if np.all((w >= self.lower) & (w <= self.upper)) else np.inf

    def prox(self, v, step):
        return np.clip(v, self.lower, self.upper)

    def residual(self, w, grad):
        return np.where((w <= self.lower) & (grad > 0) | (w >= self.upper) & (grad < 0), 0.0, grad)

    def face(self, w, residual):
        return Face(np.full(w.shape, self.lower), np.full(w.shape, self.upper), np.zeros(w.shape))


class Function:
    """A pair of functions and a term; counts its calls."""

    def __init__(self, value, grad, term=None):
        self.functions, self.term, self.calls = (value, grad), term, 0

    def value(self, w):
        self.calls += 1
        return float(self.functions[0](w))

    def value_and_grad(self, w):
        return self.value(w), self.functions[1](w)


def logistic(seed, term, rows=300, columns=40, decades=1.0, ridge=0.0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, columns)) @ (np.eye(columns) + 0.2 * rng.normal(size=(columns, columns)))
    X *= np.logspace(-decades / 2, decades / 2, columns) / np.linalg.norm(X, axis=0) * np.sqrt(rows)
    y = (rng.random(rows) < expit(X[:, ::4] @ rng.normal(size=len(range(0, columns, 4))))).astype(float)
    return Function(
        lambda w: np.mean(np.logaddexp(0.0, X @ w) - y * (X @ w)) + 0.5 * ridge * (w @ w),
        lambda w: X.T @ (expit(X @ w) - y) / rows + ridge * w,
        term,
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("strength", [1e-1, 1e-2, 1e-3])
def test_an_l1_penalty_agrees_with_a_bounded_solver_on_both_halves(seed, strength):
    """w = p − q with p, q ≥ 0 turns the L1 penalty into a sum, which L-BFGS-B can minimise."""
    objective = logistic(seed, L1(strength))
    result = minimize(objective, OWLQN(), np.zeros(40), tol=1e-8, max_iter=3000)
    assert result.converged, result.message
    value, grad = objective.functions
    assert norm(objective.term.residual(result.w, grad(result.w))) <= 1e-8 * result.grad_scale

    def split(pq):
        w = pq[:40] - pq[40:]
        return value(w) + strength * pq.sum(), np.concatenate([grad(w), -grad(w)]) + strength

    peer = scipy.optimize.minimize(
        split,
        np.zeros(80),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * 80,
        options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 20_000, "maxfun": 50_000},
    )
    assert result.value <= peer.fun + 1e-12
    assert all(after.value <= before.value * (1.0 + 1e-12) for before, after in pairwise(result.trace))


def test_the_lasso_is_that_of_scikit_learn():
    rng = np.random.default_rng(4)
    X = rng.normal(size=(100, 150))
    y = X[:, :8].sum(axis=1) + 0.5 * rng.normal(size=100)
    objective = Function(lambda w: 0.5 * np.mean((X @ w - y) ** 2), lambda w: X.T @ (X @ w - y) / 100, L1(0.05))
    result = minimize(objective, OWLQN(), np.zeros(150), tol=1e-8, max_iter=3000)
    assert result.converged, result.message
    peer = Lasso(alpha=0.05, fit_intercept=False, tol=1e-14, max_iter=1_000_000).fit(X, y).coef_
    np.testing.assert_allclose(result.w, peer, atol=1e-6)
    assert np.array_equal(result.w != 0.0, peer != 0.0)


def test_bounds_are_those_of_bounded_least_squares():
    rng = np.random.default_rng(5)
    A, b = rng.normal(size=(60, 30)), rng.normal(size=60)
    objective = Function(lambda w: 0.5 * np.sum((A @ w - b) ** 2), lambda w: A.T @ (A @ w - b), Box(-0.05, 0.1))
    result = minimize(objective, OWLQN(), np.full(30, 7.0), tol=1e-9, max_iter=2000)
    assert result.converged, result.message
    peer = scipy.optimize.lsq_linear(A, b, (-0.05, 0.1), method="bvls", tol=1e-14).x
    np.testing.assert_allclose(result.w, peer, atol=1e-7)
    assert np.isin(result.w, (-0.05, 0.1)).any()


def test_without_a_term_it_needs_about_as_many_passes_as_lbfgs():
    smooth = logistic(6, None, ridge=1e-3)
    one = minimize(smooth, OWLQN(), np.zeros(40), tol=1e-6, max_iter=1000)
    other = minimize(smooth, LBFGS(), np.zeros(40), tol=1e-6, max_iter=1000)
    assert one.converged
    assert one.evaluations <= 1.5 * other.evaluations
    np.testing.assert_allclose(one.value, other.value, rtol=1e-9)


def test_where_everything_is_zero_at_the_minimum_nothing_moves():
    objective = logistic(7, None)
    objective.term = L1(1.0001 * np.abs(objective.functions[1](np.zeros(40))).max())
    assert minimize(objective, OWLQN(), np.zeros(40)).iterations == 0
    away = minimize(objective, OWLQN(), np.random.default_rng(7).normal(size=40), tol=1e-10, max_iter=1000)
    assert away.converged, away.message
    assert not np.any(away.w)


def test_no_step_leaves_an_orthant_and_the_pairs_are_of_the_smooth_part():
    objective, points = logistic(8, L1(3e-3)), []
    start = np.random.default_rng(8).normal(size=40)
    result = minimize(objective, OWLQN(memory=3), start, tol=1e-7, max_iter=1000, callbacks=[points.append])
    assert result.converged, result.message
    assert np.any(result.w * start < 0.0)
    for before, after in pairwise(points):
        assert np.all(before.w * after.w >= 0.0)
        born = (before.w == 0.0) & (after.w != 0.0)
        assert np.all(after.w[born] * before.grad[born] < 0.0)
    grad = objective.functions[1]
    newest = points[-1].pairs[-1]
    assert len(points[-1].pairs) == 3
    np.testing.assert_array_equal(newest.y, grad(points[-1].w) - grad(points[-2].w))
    np.testing.assert_array_equal(newest.s, points[-1].w - points[-2].w)


def test_evaluations_are_the_calls_and_resuming_gives_the_same_bits():
    states = []
    objective = logistic(9, L1(1e-2))
    whole = minimize(objective, OWLQN(), np.zeros(40), tol=1e-7, max_iter=1000, callbacks=[states.append])
    assert whole.evaluations == objective.calls
    resumed = minimize(objective, OWLQN(), np.zeros(40), tol=1e-7, max_iter=1000, resume_from=states[4])
    assert resumed.w.tobytes() == whole.w.tobytes()
    assert resumed.evaluations == whole.evaluations


def test_a_path_bends_at_the_border_of_the_face_and_lowers_the_value():
    objective = Function(lambda w: 0.5 * np.sum((w - [-3.0, 2.0]) ** 2), lambda w: w - [-3.0, 2.0], L1(0.5))
    w = np.array([1.0, 0.0])
    value, grad = objective.value_and_grad(w)
    residual = objective.term.residual(w, grad)
    face = objective.term.face(w, residual)
    near = projected_path(face, w, np.array([-4.0, 1.0]))
    found = search(objective, objective.term, near, w, value + 0.5, residual)
    assert isinstance(found, Accepted)
    assert (found.w == [0.0, 1.0]).all()
    assert found.evaluations == 1
    beyond = projected_path(face, w, np.array([-4.0, 40.0]))
    far = search(objective, objective.term, beyond, w, value + 0.5, residual)
    assert isinstance(far, Accepted)
    assert far.evaluations > 2
    total = objective.functions[0](far.w) + objective.term.value(far.w)
    assert far.value == pytest.approx(total)
    assert far.value <= value + 0.5 + 1e-4 * inner(residual, far.w - w)


def test_a_path_that_leads_upwards_takes_no_pass():
    objective = Function(lambda w: 0.5 * np.sum(w * w), lambda w: w, L1(0.5))
    w = np.ones(2)
    residual = objective.term.residual(w, w)
    face = objective.term.face(w, residual)
    for direction, reason in ((np.ones(2), Reason.TOO_MANY), (np.zeros(2), Reason.TOO_SMALL)):
        path = projected_path(face, w, direction)
        assert search(objective, objective.term, path, w, 2.0, residual) == NoStep(reason, 0)
    assert objective.calls == 0


def test_a_gradient_that_is_wrong_stalls():
    objective = Function(lambda w: float(np.any(w != 1.0)), lambda w: -2.0 * w, L1(0.1))
    result = minimize(objective, OWLQN(), np.ones(3))
    assert result.iterations == 0
    assert result.status is Status.STALLED


def test_memory_must_hold_a_pair():
    with pytest.raises(SpecError, match=r"OWLQN\(memory=0\)"):
        OWLQN(0)
