"""Steepest descent: the textbook recursion to the bit, its rate, and the search for a step."""

import itertools
import math

import numpy as np
import pytest
import scipy.optimize

from blockdot.errors import SpecError
from blockdot.solvers import Backtracking, GradientDescent, Status, minimize
from blockdot.vectors import inner


class LeastSquares:
    """½ ‖A w − b‖²."""

    def __init__(self, seed=0, rows=30, columns=4):
        rng = np.random.default_rng(seed)
        self.A = rng.normal(size=(rows, columns))
        self.b = rng.normal(size=rows)
        self.values = []

    def value_and_grad(self, w):
        r = self.A @ w - self.b
        self.values.append(0.5 * float(r @ r))
        return self.values[-1], self.A.T @ r

    @property
    def lipschitz(self):
        return float(np.linalg.eigvalsh(self.A.T @ self.A)[-1])


def test_fixed_steps_are_the_textbook_recursion_to_the_bit():
    objective = LeastSquares()
    w = np.full(4, 0.3)
    result = minimize(objective, GradientDescent(0.01), w, tol=0.0, max_iter=25)
    for _ in range(25):
        w = w - 0.01 * objective.value_and_grad(w)[1]
    assert result.w.tobytes() == w.tobytes()


def test_fixed_steps_converge_below_two_over_the_curvature_and_diverge_above():
    objective = LeastSquares()
    safe = minimize(objective, GradientDescent(1.9 / objective.lipschitz), np.zeros(4), tol=1e-10, max_iter=2000)
    assert safe.converged
    np.testing.assert_allclose(safe.w, np.linalg.lstsq(objective.A, objective.b)[0], atol=1e-9)
    risky = minimize(objective, GradientDescent(2.1 / objective.lipschitz), np.zeros(4), max_iter=100_000)
    assert risky.status is Status.DIVERGED


def test_fixed_steps_that_no_longer_change_w_stall():
    class Steep:
        def value_and_grad(self, w):
            return float(np.sum(w)), np.ones_like(w)

    result = minimize(Steep(), GradientDescent(1e-20), np.ones(3))
    assert result.status is Status.STALLED
    assert (result.iterations, result.evaluations) == (0, 1)


@pytest.mark.parametrize("first", [1e-8, 1.0, 1e8])
def test_backtracking_finds_its_step_wherever_it_starts(first):
    objective = LeastSquares()
    result = minimize(objective, Backtracking(step_size=first), np.zeros(4), tol=1e-7, max_iter=500)
    assert result.converged
    best = scipy.optimize.minimize(objective.value_and_grad, np.zeros(4), jac=True, method="BFGS", tol=1e-9)
    np.testing.assert_allclose(result.w, best.x, atol=1e-6)
    assert result.evaluations == len(objective.values) - best.nfev


def test_every_accepted_step_satisfies_armijo_and_grows_from_the_last():
    objective, states = LeastSquares(), []
    solver = Backtracking(step_size=3.0, shrink=0.3, sufficient=0.2, grow=1.5)
    state = solver.init(objective, np.zeros(4))
    for _ in range(12):
        states.append(state)
        state = solver.step(objective, state)
    for before, after in itertools.pairwise(states):
        t = after.trial / 1.5
        assert after.value <= before.value - 0.2 * t * inner(before.grad, before.grad)
        np.testing.assert_allclose(after.w, before.w - t * before.grad, rtol=1e-12)
        refused = after.evaluations - before.evaluations - 1
        assert t == pytest.approx(before.trial * 0.3**refused)
        if refused:  # the trial before the accepted one did not fall enough
            value, _ = objective.value_and_grad(before.w - t / 0.3 * before.grad)
            assert value > before.value - 0.2 * t / 0.3 * inner(before.grad, before.grad)


def test_backtracking_steps_back_from_where_the_objective_is_not_finite():
    class Barrier:
        def value_and_grad(self, w):
            if w[0] <= 0.0:
                return math.nan, np.array([math.nan])
            return float(w[0] - math.log(w[0])), 1.0 - 1.0 / w

    result = minimize(Barrier(), Backtracking(step_size=1e3), np.array([5.0]), tol=1e-8, max_iter=200)
    assert result.converged
    assert result.w[0] == pytest.approx(1.0, abs=1e-7)


def test_the_step_size_grows_to_any_number_but_not_to_infinity():
    class Slope:
        def value_and_grad(self, w):
            return 1e-300 * float(w[0] + w[1]), np.array([1e-300, 0.0])

    solver = Backtracking(step_size=1e300, grow=1e6)
    state = solver.init(Slope(), np.zeros(2))
    for _ in range(3):
        state = solver.step(Slope(), state)
    assert state.w[0] < -1e6
    assert math.isfinite(state.trial)
    assert np.isfinite(state.w).all()


def test_backtracking_stalls_where_rounding_hides_the_decrease():
    class Lifted:
        def value_and_grad(self, w):
            return 1e9 + 0.5 * float(np.sum(w * w)), w.copy()

    result = minimize(Lifted(), Backtracking(step_size=0.1), np.full(2, 1.0), tol=1e-14, max_iter=1000)
    assert result.status is Status.STALLED
    assert np.abs(result.w).max() < 1e-3


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_step_sizes_must_be_positive_and_finite(value):
    with pytest.raises(SpecError, match=r"GradientDescent\(step_size="):
        GradientDescent(value)
    with pytest.raises(SpecError, match=r"Backtracking\(step_size="):
        Backtracking(value)


@pytest.mark.parametrize(
    "options",
    [{"shrink": 1.0}, {"shrink": 0.0}, {"sufficient": 0.0}, {"sufficient": 1.0}, {"grow": 0.9}, {"grow": math.inf}],
)
def test_factors_out_of_range_are_refused(options):
    with pytest.raises(SpecError, match=next(iter(options))):
        Backtracking(**options)
