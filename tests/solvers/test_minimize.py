"""The one loop: how it starts, when it stops, and what it says."""

import logging
import math
import time
from types import SimpleNamespace
from typing import ClassVar, NamedTuple

import numpy as np
import pytest

from blockdot.errors import SpecError
from blockdot.solvers import LBFGS, Backtracking, GradientDescent, ProximalGradient, Status, minimize
from blockdot.vectors import norm


class Quadratic:
    """½ Σ hⱼ (wⱼ − 1)²."""

    def __init__(self, *curvatures, pause=0.0):
        self.h = np.array(curvatures)
        self.pause = pause
        self.calls = 0

    def value_and_grad(self, w):
        self.calls += 1
        time.sleep(self.pause)
        d = w - 1.0
        return 0.5 * float(np.sum(self.h * d * d)), self.h * d


SMOOTH = [GradientDescent(0.1), Backtracking(), LBFGS()]
SOLVERS = [*SMOOTH, ProximalGradient()]
START = np.array([3.0, -2.0])


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: s.name)
def test_the_result_tells_the_whole_run(solver):
    objective = Quadratic(1.0, 9.0)
    result = minimize(objective, solver, START, tol=1e-8, max_iter=1000)
    value, grad = objective.value_and_grad(result.w)
    assert result.converged
    assert result.status is Status.CONVERGED
    np.testing.assert_allclose(result.w, 1.0, atol=1e-6)
    assert result.value == value
    assert result.grad_norm == norm(grad)
    assert result.grad_scale == norm(objective.value_and_grad(START)[1])
    assert result.relative_grad_norm == result.grad_norm / result.grad_scale <= 1e-8
    assert result.evaluations == objective.calls - 2
    assert [p.iteration for p in result.trace] == list(range(result.iterations + 1))
    assert result.trace[0] == (0, objective.value_and_grad(START)[0], result.grad_scale)
    assert result.trace[-1] == (result.iterations, result.value, result.grad_norm)
    assert all(p.grad_norm > 1e-8 * result.grad_scale for p in result.trace[:-1])
    assert result.state.w is result.w
    assert 0.0 < result.seconds < 60.0
    assert f"converged after {result.iterations} iterations" in result.message


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: s.name)
def test_w0_is_not_written_to_nor_kept(solver):
    w0 = START.copy()
    w0.flags.writeable = False
    result = minimize(Quadratic(1.0, 9.0), solver, w0, max_iter=3)
    assert (w0 == START).all()
    assert not np.shares_memory(minimize(Quadratic(1.0, 9.0), solver, w0, max_iter=0).w, w0)
    assert not np.shares_memory(result.w, w0)


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: s.name)
def test_two_runs_give_the_same_bits(solver):
    first, second = (minimize(Quadratic(1.0, 7.0), solver, START, max_iter=9) for _ in range(2))
    assert first.w.tobytes() == second.w.tobytes()
    assert first.trace == second.trace


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: s.name)
def test_resuming_from_a_state_gives_the_bits_of_one_run(solver):
    states = []
    whole = minimize(Quadratic(1.0, 7.0), solver, START, tol=1e-7, max_iter=500, callbacks=[states.append])
    assert len(states) == whole.iterations > 3
    resumed = minimize(Quadratic(1.0, 7.0), solver, START, tol=1e-7, max_iter=500, resume_from=states[1])
    assert resumed.w.tobytes() == whole.w.tobytes()
    assert resumed.trace == whole.trace[2:]
    assert (resumed.iterations, resumed.evaluations) == (whole.iterations, whole.evaluations)
    assert resumed.grad_scale == whole.grad_scale


def test_resuming_with_a_known_scale_does_not_evaluate_the_start():
    state = minimize(Quadratic(1.0, 7.0), GradientDescent(0.1), START, max_iter=2).state
    objective = Quadratic(1.0, 7.0)
    minimize(objective, GradientDescent(0.1), START, max_iter=5, grad_scale=1.0, resume_from=state)
    assert objective.calls == 3


def test_the_tolerance_does_not_depend_on_the_units_of_the_objective():
    small = minimize(Quadratic(1e-9, 3e-9), GradientDescent(0.1e9), START, tol=1e-5)
    large = minimize(Quadratic(1e9, 3e9), GradientDescent(0.1e-9), START, tol=1e-5)
    assert small.converged
    assert large.converged
    assert small.iterations == large.iterations > 5


def test_a_warm_start_with_the_scale_of_a_cold_one_stops_at_once():
    near = np.array([1.0 + 1e-7, 1.0])
    cold = minimize(Quadratic(1.0, 2.0), GradientDescent(0.1), START, max_iter=0)
    assert minimize(Quadratic(1.0, 2.0), GradientDescent(0.1), near, grad_scale=cold.grad_norm).iterations == 0
    assert minimize(Quadratic(1.0, 2.0), GradientDescent(0.1), near).iterations > 10


def test_with_tol_0_only_a_zero_gradient_counts():
    assert minimize(Quadratic(1.0, 1.0), GradientDescent(0.5), START, tol=0.0, max_iter=10).status is Status.MAX_ITER
    at_minimum = minimize(Quadratic(1.0, 1.0), GradientDescent(0.5), np.ones(2), tol=0.0)
    assert at_minimum.converged
    assert at_minimum.relative_grad_norm == 0.0


def test_max_iter_ends_the_run():
    result = minimize(Quadratic(1.0, 9.0), GradientDescent(0.01), START, max_iter=7)
    assert (result.iterations, result.evaluations) == (7, 8)
    assert result.status is Status.MAX_ITER
    assert not result.converged
    assert "max_iter=7" in result.message


def test_the_time_limit_ends_the_run():
    result = minimize(Quadratic(1.0, 9.0, pause=0.01), GradientDescent(0.001), START, max_iter=10_000, time_limit=0.05)
    assert result.status is Status.TIME_LIMIT
    assert 0 < result.iterations < 6
    assert result.seconds >= 0.05
    assert "time_limit=0.05" in result.message


def test_every_callback_sees_every_iteration_and_one_can_stop():
    seen, ends = [], []

    def stop_at_4(state):
        ends.append(state.iteration)
        return state.iteration == 4

    result = minimize(
        Quadratic(1.0, 9.0), GradientDescent(0.01), START, callbacks=[stop_at_4, lambda s: seen.append(s.w.copy())]
    )
    assert result.status is Status.STOPPED
    assert ends == [1, 2, 3, 4]
    assert (seen[-1] == result.w).all()
    assert len({w.tobytes() for w in seen}) == 4
    assert "callback" in result.message


def test_divergence_is_named_and_warns_nobody():
    states = []
    result = minimize(Quadratic(1.0, 9.0), GradientDescent(1e30), START, max_iter=1000, callbacks=[states.append])
    assert result.status is Status.DIVERGED
    assert "step is too large" in result.message
    assert all(math.isfinite(s.value) for s in states)
    assert result.iterations == len(states) + 1


@pytest.mark.parametrize("bad", [(math.nan, 0.0), (0.0, math.nan), (math.inf, 1.0), (1.0, math.inf)])
@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: s.name)
def test_a_start_that_is_not_finite_blames_data_or_w0(solver, bad):
    class Broken:
        def value_and_grad(self, w):
            return bad[0], np.full(w.shape, bad[1])

    result = minimize(Broken(), solver, START)
    assert result.status is Status.DIVERGED
    assert result.iterations == 0
    assert "the data or w0 are not finite" in result.message


@pytest.mark.parametrize("solver", [Backtracking(), LBFGS()], ids=lambda s: s.name)
def test_an_objective_without_a_minimum_is_named(solver):
    class Falling:
        def value_and_grad(self, w):
            return float(w[0]), np.array([1.0, 0.0])

    result = minimize(Falling(), solver, START, max_iter=5000)
    assert result.status is Status.DIVERGED
    assert "no minimum" in result.message


@pytest.mark.parametrize("solver", [Backtracking(), LBFGS()], ids=lambda s: s.name)
def test_a_gradient_that_points_the_wrong_way_stalls(solver):
    class Wrong:
        def value_and_grad(self, w):
            return float(np.sum(w * w)), -2.0 * w

    states = []
    result = minimize(Wrong(), solver, START, callbacks=[states.append])
    assert result.status is Status.STALLED
    assert result.iterations == len(states) == 0
    assert len(result.trace) == 1
    assert (result.w == START).all()
    assert result.evaluations > 5
    assert "floating-point precision" in result.message


class _OnlyProx:
    """A pairing that cannot work: this objective has no gradient."""

    def prox(self, w, step):
        return w


class _CurvedState(NamedTuple):
    w: np.ndarray
    value: float
    grad: np.ndarray
    iteration: int
    evaluations: int
    status: Status | None = None


class _NeedsMore:
    name: ClassVar[str] = "curved"
    needs: ClassVar[frozenset[str]] = frozenset({"value_and_grad", "hess_vec", "hess_diag"})

    def init(self, objective, w):
        raise AssertionError("nothing may be computed before the pairing is checked")

    step = init


def test_a_wrong_pairing_is_refused_in_words_before_anything_is_computed():
    with pytest.raises(SpecError, match="solver L-BFGS needs value_and_grad, which the objective _OnlyProx does not"):
        minimize(_OnlyProx(), LBFGS(), START)
    objective = Quadratic(1.0, 1.0)
    with pytest.raises(SpecError, match=r"curved needs hess_diag, hess_vec, which .* Quadratic .* choose a solver"):
        minimize(objective, _NeedsMore(), START)
    assert objective.calls == 0


class _WithTerm(Quadratic):
    """A quadratic plus |w|, which no smooth solver sees."""

    term = SimpleNamespace(name="L1")


@pytest.mark.parametrize("solver", SMOOTH, ids=lambda s: s.name)
def test_a_term_that_is_not_smooth_is_refused_by_smooth_solvers(solver):
    objective = _WithTerm(1.0, 1.0)
    with pytest.raises(SpecError, match=rf"{solver.name} needs .* smooth, .* is not, L1: choose ProximalNewton\(\)"):
        minimize(objective, solver, START)
    assert objective.calls == 0
    objective.term = None
    assert minimize(objective, solver, START, max_iter=1).iterations == 1


@pytest.mark.parametrize(
    ("w0", "words"),
    [
        (np.zeros((2, 1)), "2-D float64"),
        (np.zeros(2, np.float32), "1-D float32"),
        (np.zeros(2, np.int64), "1-D int64"),
        ([0.0, 0.0], "w0 is list"),
        (np.array([0.0, math.nan]), r"w0\[1\] is nan"),
        (np.array([-math.inf, 0.0]), r"w0\[0\] is -inf"),
    ],
)
def test_a_start_that_is_no_finite_vector_is_refused(w0, words):
    with pytest.raises(SpecError, match=words):
        minimize(Quadratic(1.0, 1.0), LBFGS(), w0)


@pytest.mark.parametrize(
    "options",
    [
        {"tol": -1e-9},
        {"tol": math.nan},
        {"tol": math.inf},
        {"max_iter": -1},
        {"time_limit": 0.0},
        {"time_limit": math.nan},
        {"grad_scale": 0.0},
        {"grad_scale": math.inf},
    ],
)
def test_limits_that_cannot_be_honoured_are_refused(options):
    with pytest.raises(SpecError, match=next(iter(options))):
        minimize(Quadratic(1.0, 1.0), LBFGS(), START, **options)


def test_resuming_another_problem_is_refused():
    state = minimize(Quadratic(1.0), LBFGS(), np.zeros(1), max_iter=1).state
    with pytest.raises(SpecError, match="resume_from has 1 parameters, w0 has 2"):
        minimize(Quadratic(1.0, 1.0), LBFGS(), START, resume_from=state)


def test_each_iteration_is_logged_at_debug_and_the_end_at_info(caplog):
    with caplog.at_level(logging.DEBUG, logger="blockdot.solvers.minimize"):
        result = minimize(Quadratic(1.0, 9.0), GradientDescent(0.01), START, max_iter=3)
    levels = [r.levelno for r in caplog.records]
    assert levels == [logging.DEBUG] * 3 + [logging.INFO]
    assert "iteration 2, value" in caplog.records[1].getMessage()
    assert result.message in caplog.records[-1].getMessage()


def test_no_parameters_are_a_minimum():
    assert minimize(Quadratic(), LBFGS(), np.zeros(0)).converged
