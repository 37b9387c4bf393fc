"""Newton's method: minima by their optimality conditions, the steps by their definitions, non-convex objectives."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.optimize
from scipy.special import expit

from blockdot.errors import SpecError
from blockdot.solvers import LBFGS, NewtonCG, NewtonCholesky, Status, minimize, preconditioner
from blockdot.solvers.newton import Point, advance
from blockdot.solvers.newton_cg import _Solve
from blockdot.solvers.preconditioner import Preconditioner
from blockdot.vectors import Cholesky, solve_by_eigenvalues


class Smooth:
    """An objective from its value, gradient and Hessian, which counts what is asked of it."""

    def __init__(self, value, grad, hessian):
        self.functions = value, grad, hessian
        self.asked = []

    def value_and_grad(self, w):
        self.asked.append("value_and_grad")
        return float(self.functions[0](w)), self.functions[1](w)

    def value_along(self, w, direction, t):
        self.asked.append("value_along")
        return float(self.functions[0](w + t * direction))

    def hessians(self, w):
        self.asked.append("hessians")
        return [(np.arange(len(w)), self.functions[2](w))]

    def hess_vec(self, w, v):
        self.asked.append("hess_vec")
        return self.functions[2](w) @ v

    def hess_diag(self, w):
        self.asked.append("hess_diag")
        return np.diag(self.functions[2](w)).copy()

    def mean_hessian(self, w, m):
        self.asked.append("mean_hessian")
        head = np.arange(min(m, len(w)))
        return head[np.newaxis], self.functions[2](w)[np.ix_(head, head)]


def logistic(seed, decades=0.0, alpha=1e-3, rows=400, columns=30):
    rng = np.random.default_rng(seed)
    scales = np.logspace(-decades / 2, decades / 2, columns)
    X = rng.normal(size=(rows, columns)) @ (np.eye(columns) + 0.3 * rng.normal(size=(columns, columns))) * scales
    y = (rng.random(rows) < expit(X @ (rng.normal(size=columns) / scales))).astype(float)

    def value(w):
        return np.logaddexp(0.0, (1.0 - 2.0 * y) * (X @ w)).mean() + 0.5 * alpha * (w @ w)

    def grad(w):
        return X.T @ (expit(X @ w) - y) / rows + alpha * w

    def hessian(w):
        p = expit(X @ w)
        return (X.T * (p * (1.0 - p))) @ X / rows + alpha * np.eye(columns)

    return Smooth(value, grad, hessian)


def rosenbrock():
    return Smooth(scipy.optimize.rosen, scipy.optimize.rosen_der, scipy.optimize.rosen_hess)


SOLVERS = [NewtonCG(), NewtonCG(head=0), NewtonCG(head=8, patience=1), NewtonCholesky()]


@pytest.mark.parametrize("solver", SOLVERS, ids=str)
@pytest.mark.parametrize("decades", [0, 3, 6])
def test_the_gradient_vanishes_and_the_minimum_is_that_of_lbfgs(solver, decades):
    objective = logistic(seed=decades, decades=decades)
    result = minimize(objective, solver, np.zeros(30), tol=1e-10)
    assert result.converged, result.message
    assert np.linalg.norm(objective.functions[1](result.w)) <= 1e-10 * result.grad_scale
    peer = minimize(objective, LBFGS(), np.zeros(30), tol=1e-8, max_iter=20_000)
    assert result.value <= peer.value + 1e-12 * abs(peer.value)
    assert result.iterations <= 25


@pytest.mark.parametrize("solver", SOLVERS, ids=str)
def test_the_last_steps_converge_faster_than_linearly(solver):
    result = minimize(logistic(7), solver, np.zeros(30), tol=1e-12)
    norms = [point.grad_norm / result.grad_scale for point in result.trace]
    assert result.converged
    assert norms[-1] < 0.1 * norms[-2] < 0.01 * norms[-3]


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_a_solve_that_goes_on_with_another_preconditioner_never_ends_uphill(patience):
    """Indefinite Hessians: the two parts of a solve lower the same model, and their sum may still point up."""
    n = 8
    for seed in range(60):
        rng = np.random.default_rng(seed)
        Q, g = np.linalg.qr(rng.normal(size=(n, n)))[0], rng.normal(size=n)
        A = (Q * rng.normal(size=n)) @ Q.T
        F = Smooth(
            lambda w, A=A, g=g: 0.5 * w @ A @ w + g @ w + 0.25 * np.sum(w**4),
            lambda w, A=A, g=g: A @ w + g + w**3,
            lambda w, A=A: A + np.diag(3.0 * w**2),
        )
        solver = NewtonCG(forcing=1e-3, patience=patience, head=n)
        state = solver.init(F, np.zeros(n))
        for _ in range(3):
            after = solver.step(F, state)
            assert after.status is None, (seed, after.status)
            assert after.value < state.value
            state = after


@pytest.mark.parametrize("solver", SOLVERS, ids=str)
@pytest.mark.parametrize("n", [2, 10])
def test_rosenbrock_has_directions_of_negative_curvature(solver, n):
    """From this start the Hessian is indefinite for n = 10; both ways to a direction must still lead down."""
    start = np.linspace(-1.2, 1.2, n)
    result = minimize(rosenbrock(), solver, start, tol=1e-10, max_iter=300)
    assert result.converged, result.message
    assert all(after.value <= before.value for before, after in pairwise(result.trace))
    assert np.linalg.norm(scipy.optimize.rosen_der(result.w)) < 1e-6


@pytest.mark.parametrize("solver", SOLVERS, ids=str)
def test_a_saddle_is_left(solver):
    """F = x² − y² + y⁴, close to its saddle at 0: the minima are at y = ±1/√2."""
    objective = Smooth(
        lambda w: w[0] ** 2 - w[1] ** 2 + w[1] ** 4,
        lambda w: np.array([2 * w[0], -2 * w[1] + 4 * w[1] ** 3]),
        lambda w: np.diag([2.0, -2.0 + 12 * w[1] ** 2]),
    )
    result = minimize(objective, solver, np.array([0.5, 1e-3]), tol=1e-10)
    assert result.converged, result.message
    np.testing.assert_allclose(np.abs(result.w), [0.0, np.sqrt(0.5)], atol=1e-6)


@pytest.mark.parametrize("solver", SOLVERS, ids=str)
def test_an_objective_without_a_minimum_is_not_said_to_converge(solver):
    objective = Smooth(
        lambda w: -float(w[0]) + 0.5 * w[1] ** 2,
        lambda w: np.array([-1.0, w[1]]),
        lambda _: np.diag([0.0, 1.0]),
    )
    result = minimize(objective, solver, np.ones(2), tol=1e-8, max_iter=30)
    assert not result.converged


@pytest.mark.parametrize("solver", [NewtonCG(), NewtonCholesky()], ids=str)
def test_collinear_features_without_a_penalty(solver):
    """The Hessian is singular: the minimum is a line, and any point of it is right."""
    rng = np.random.default_rng(3)
    base = rng.normal(size=(200, 4))
    X = np.hstack([base, base[:, :2]])
    t = base @ rng.normal(size=4)
    objective = Smooth(
        lambda w: 0.5 * np.mean((X @ w - t) ** 2), lambda w: X.T @ (X @ w - t) / 200, lambda _: X.T @ X / 200
    )
    result = minimize(objective, solver, np.zeros(6), tol=1e-9)
    assert result.converged, result.message
    assert result.value < 1e-16


def test_a_quadratic_takes_one_step_of_either():
    rng = np.random.default_rng(4)
    A = rng.normal(size=(12, 12))
    A, b = A @ A.T + np.eye(12), rng.normal(size=12)
    objective = Smooth(lambda w: 0.5 * w @ A @ w - b @ w, lambda w: A @ w - b, lambda _: A)
    for solver in (NewtonCholesky(), NewtonCG(forcing=1e-12)):
        state = solver.step(objective, solver.init(objective, np.zeros(12)))
        np.testing.assert_allclose(state.w, np.linalg.solve(A, b), rtol=1e-7)


def test_conjugate_gradients_reach_the_residual_they_are_asked_for():
    rng = np.random.default_rng(5)
    A = rng.normal(size=(40, 40))
    A, g = A @ A.T + np.eye(40), rng.normal(size=40)
    scale = np.diag(A)
    for eta in (0.5, 0.1, 1e-3):
        solve = _Solve(lambda v: A @ v, g)
        solve.go_on(lambda r: r / scale, eta, 1000)
        residual = A @ solve.s + g
        assert solve.has_ended
        assert residual @ (residual / scale) <= eta**2 * (g @ (g / scale)) * (1 + 1e-6)


def test_a_solve_goes_on_with_another_preconditioner():
    rng = np.random.default_rng(6)
    A = rng.normal(size=(40, 40))
    A, g = A @ A.T + np.eye(40), rng.normal(size=40)
    solve = _Solve(lambda v: A @ v, g)
    solve.go_on(lambda r: r, 1e-8, 5)
    assert not solve.has_ended
    assert solve.products == 5
    inverse = np.linalg.inv(A)
    solve.go_on(lambda r: inverse @ r, 1e-8, 50)
    assert solve.has_ended
    assert solve.products <= 7  # the exact inverse needs one product, and one more for rounding
    np.testing.assert_allclose(solve.s, -inverse @ g, rtol=1e-6)


def test_easy_solves_never_make_the_head_and_hard_ones_do():
    easy = Smooth(lambda w: 0.5 * w @ w - w.sum(), lambda w: w - 1.0, lambda w: np.eye(len(w)))
    minimize(easy, NewtonCG(), np.zeros(50), tol=1e-10)
    assert "mean_hessian" not in easy.asked
    hard = logistic(8, decades=6)
    minimize(hard, NewtonCG(patience=2), np.zeros(30), tol=1e-8)
    assert "mean_hessian" in hard.asked


def test_the_head_saves_products():
    counts = []
    for head in (0, 30):
        objective = logistic(9, decades=2, columns=30)
        assert minimize(objective, NewtonCG(head=head, patience=2), np.zeros(30), tol=1e-8).converged
        counts.append(objective.asked.count("hess_vec"))
    assert counts[1] < 0.5 * counts[0]


def test_a_head_is_kept_while_it_serves_and_made_again_when_it_does_not(monkeypatch):
    counts = []
    for stale in (preconditioner.STALE, -np.inf):  # made again when the value has fallen, and always
        monkeypatch.setattr(preconditioner, "STALE", stale)
        objective = logistic(9, decades=2, columns=30)
        assert minimize(objective, NewtonCG(patience=2), np.zeros(30), tol=1e-10).converged
        counts.append((objective.asked.count("mean_hessian"), objective.asked.count("hess_vec")))
    (kept, products), (always, fewest) = counts
    assert 1 <= kept < always
    assert products <= 1.5 * fewest
    monkeypatch.setattr(preconditioner, "STALE", np.inf)  # never old: then only after many products
    useless = logistic(9, decades=2, columns=30)
    nothing = np.zeros((0, 0), int), np.zeros((0, 0))
    useless.mean_hessian = lambda w, m: useless.asked.append("mean_hessian") or nothing
    assert minimize(useless, NewtonCG(patience=1), np.zeros(30), tol=1e-8).converged
    assert useless.asked.count("mean_hessian") > 1


def test_a_solve_that_ends_with_the_last_product_of_the_diagonal_makes_no_head():
    A = np.diag([1.0, 2.0])
    objective = Smooth(lambda w: 0.5 * w @ A @ w - w.sum(), lambda w: A @ w - 1.0, lambda _: A)
    solver = NewtonCG(patience=1)
    solver.step(objective, solver.init(objective, np.zeros(2)))
    assert objective.asked.count("hess_vec") == 1
    assert "mean_hessian" not in objective.asked


def test_an_accepted_full_step_costs_one_evaluation_and_a_refused_one_no_more_gradients():
    objective = Smooth(lambda w: float(np.sqrt(1 + w @ w)), lambda w: w / np.sqrt(1 + w @ w), None)
    w = np.array([1.0, 1.0])
    value, grad = objective.value_and_grad(w)
    objective.asked.clear()
    found = advance(objective, w, value, grad, -0.5 * w)
    assert isinstance(found, Point)
    assert (found.evaluations, objective.asked) == (1, ["value_and_grad"])
    objective.asked.clear()
    found = advance(objective, w, value, grad, -50.0 * w)
    assert isinstance(found, Point)
    assert found.value < value
    assert objective.asked.count("value_and_grad") == 2
    assert found.evaluations == len(objective.asked)


def test_a_direction_that_leads_upwards_stalls():
    objective = Smooth(lambda w: float(w @ w), lambda w: 2 * w, None)
    w = np.ones(3)
    assert advance(objective, w, 3.0, 2 * w, w) is Status.STALLED
    assert advance(objective, w, 3.0, 2 * w, np.full(3, np.nan)) is Status.STALLED


def test_a_step_into_infinity_is_shortened():
    def value(w):
        return np.inf if w[0] <= 0 else float(w[0] - np.log(w[0]))

    objective = Smooth(value, lambda w: np.array([1.0 - 1.0 / w[0]]), None)
    found = advance(objective, np.array([3.0]), value([3.0]), np.array([2 / 3]), np.array([-9.0]))
    assert isinstance(found, Point)
    assert np.isfinite(found.value)
    assert found.value < value([3.0])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"forcing": 0.0}, "between 0 and 1"),
        ({"forcing": 1.0}, "between 0 and 1"),
        ({"patience": 0}, "1 or more"),
        ({"head": -1}, "0 or more"),
        ({"max_products": 0}, "1 or more"),
    ],
)
def test_settings_are_checked(settings, words):
    with pytest.raises(SpecError, match=words):
        NewtonCG(**settings)


def test_cholesky_solves_and_refuses_what_is_not_definite():
    rng = np.random.default_rng(10)
    A = rng.normal(size=(9, 9))
    A, b = A @ A.T + np.eye(9), rng.normal(size=9)
    factor = Cholesky.of(A)
    assert factor is not None
    np.testing.assert_allclose(factor.solve(b), np.linalg.solve(A, b), rtol=1e-9)
    v = rng.normal(size=9)
    assert Cholesky.of(np.outer(v, v)) is None
    assert Cholesky.of(-A) is None
    assert Cholesky.of(np.full((2, 2), np.nan)) is None


def test_solving_by_eigenvalues_is_the_inverse_of_the_absolute_matrix():
    rng = np.random.default_rng(11)
    Q, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    values = np.array([3.0, -2.0, 1.0, 0.5, 0.0, 1e-20])
    b = rng.normal(size=6)
    expected = Q[:, :4] @ ((Q[:, :4].T @ b) / np.abs(values[:4]))
    np.testing.assert_allclose(solve_by_eigenvalues((Q * values) @ Q.T, b), expected, rtol=1e-8)


def test_one_head_serves_several_outputs():
    """H has a block for each of three outputs, D^½ C D^½ with one C: M is H, and one product solves."""
    rng = np.random.default_rng(11)
    p, outputs = 12, 3
    A = rng.normal(size=(40, p))
    C = preconditioner.correlations(A.T @ A)
    places = np.arange(outputs * p).reshape(p, outputs).T
    H = np.zeros((outputs * p, outputs * p))
    for place, scale in zip(places, np.exp(rng.normal(size=(outputs, p))), strict=True):
        H[np.ix_(place, place)] = C * scale * scale[:, np.newaxis]
    b = rng.normal(size=len(H))
    F = Smooth(lambda w: 0.5 * w @ H @ w - b @ w, lambda w: H @ w - b, lambda _: H)
    mean = (C - preconditioner._SHRINK * np.eye(p)) / (1.0 - preconditioner._SHRINK)  # so that C comes out when shrunk
    F.mean_hessian = lambda w, m: (places, mean)
    M = Preconditioner.with_head(F, np.zeros(len(H)), 0.0, p)
    np.testing.assert_allclose(M.inverse()(H @ b), b, rtol=1e-8)
    plain = Preconditioner.at(F, np.zeros(len(H)))
    np.testing.assert_allclose(plain.inverse()(b), b / np.diag(H), rtol=1e-15)


def test_an_indefinite_head_is_left_out():
    F = Smooth(None, None, lambda _: np.array([[1.0, 5.0], [5.0, 1.0]]))
    M = Preconditioner.with_head(F, np.zeros(2), 3.0, 2)
    assert (M.places.size, M.factor.size, M.value) == (0, 0, 3.0)
    assert not M.is_old(3.0)
    assert M.is_old(1.0)
