"""The one loop: stopping, logging, callbacks and limits, for every solver.

    stop when   ‖∇F(w)‖ ≤ tol · max(g, tiny)        g = ‖∇F(w₀)‖, or the ``grad_scale`` that was handed in

The test is relative, so it does not change when the objective or its units are scaled. Its reference is the gradient
at ``w0`` of the objective that is being minimised; a warm start, where that gradient is small already, hands in the
gradient norm at a natural start (w = 0) as ``grad_scale``, and so stops at the same accuracy as a cold start.

A solver offers ``init(objective, w) -> state`` and ``step(objective, state) -> state``. To be paired with an objective
it names the methods that it needs; they are looked for before anything is computed. An objective may leave a part of
what is minimised, one that is not smooth, to the solver, as its ``term`` (term.py): only a solver that says that it is
``proximal`` is paired with one.
"""

from __future__ import annotations

import enum
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from blockdot.buffers import empty
from blockdot.errors import SpecError
from blockdot.vectors import Vector, norm

logger = logging.getLogger(__name__)

_TINY = float(np.finfo(np.float64).tiny)


class Status(enum.StrEnum):
    """Why a minimisation ended."""

    CONVERGED = "converged"
    MAX_ITER = "max_iter"
    TIME_LIMIT = "time_limit"
    STALLED = "stalled"
    DIVERGED = "diverged"
    STOPPED = "stopped"


class Smooth(Protocol):
    """An objective with a gradient."""

    def value_and_grad(self, w: Vector, /) -> tuple[float, Vector]:
        """F(w) and ∇F(w). The gradient is a new array, not written to later; ``w`` is not written to."""
        ...


class State(Protocol):
    """What every solver's state (a named tuple) tells the loop; other fields belong to the solver."""

    @property
    def w(self) -> Vector: ...

    @property
    def value(self) -> float:
        """F(w)."""
        ...

    @property
    def grad(self) -> Vector:
        """∇F(w), or what stands for it: a vector that is zero exactly where w is a minimum."""
        ...

    @property
    def iteration(self) -> int: ...

    @property
    def evaluations(self) -> int:
        """Calls of the objective's functions so far, each of them a pass over the data."""
        ...

    @property
    def status(self) -> Status | None:
        """None while the solver can go on; else why it cannot (STALLED or DIVERGED)."""
        ...


class PointState(NamedTuple):
    """A point, its value and its gradient: the state of a solver that learns nothing on the way."""

    w: Vector
    value: float
    grad: Vector
    iteration: int
    evaluations: int
    status: Status | None = None


Objective_contra = TypeVar("Objective_contra", contravariant=True)
Objective = TypeVar("Objective")
S = TypeVar("S", bound=State)


class Solver(Protocol[Objective_contra, S]):
    """A method of descent: settings only. What it asks of an objective is its first type parameter, and ``needs``."""

    @property
    def name(self) -> str: ...

    @property
    def needs(self) -> frozenset[str]:
        """Names of the objective's methods that it calls."""
        ...

    @property
    def vectors(self) -> int:
        """Vectors of the size of w that it holds at most, those of the objective's answers included."""
        ...

    def init(self, objective: Objective_contra, w: Vector) -> S:
        """The state at ``w``, iteration 0; ``w`` may be kept, and is not written to."""
        ...

    def step(self, objective: Objective_contra, state: S) -> S:
        """The state one iteration later, or the same iteration with a status when no further step exists."""
        ...


class TracePoint(NamedTuple):
    """One line of the history of a minimisation."""

    iteration: int
    value: float
    grad_norm: float


@dataclass(frozen=True, eq=False)
class Result(Generic[S]):
    """Where a minimisation ended, and why.

    ``grad_scale`` is the reference of the stopping test. ``trace`` starts at the first point. ``evaluations`` and
    ``iterations`` count from w0, also in a run that was resumed; ``seconds`` and ``trace`` are this call's.
    """

    w: Vector
    value: float
    grad_norm: float
    grad_scale: float
    iterations: int
    evaluations: int
    seconds: float
    status: Status
    message: str
    trace: tuple[TracePoint, ...]
    state: S

    @property
    def converged(self) -> bool:
        return self.status is Status.CONVERGED

    @property
    def relative_grad_norm(self) -> float:
        """‖∇F(w)‖ / max(grad_scale, tiny): what is compared with ``tol``."""
        return self.grad_norm / max(self.grad_scale, _TINY)


@dataclass(frozen=True)
class _Limits:
    """When to stop; checked once, here."""

    tol: float
    max_iter: int
    time_limit: float | None
    grad_scale: float | None

    def __post_init__(self) -> None:
        if not 0.0 <= self.tol < math.inf:
            raise SpecError(f"tol={self.tol!r}: a finite number, 0 or more, is needed (1e-6 is usual)")
        if not self.max_iter >= 0:
            raise SpecError(f"max_iter={self.max_iter!r}: a whole number, 0 or more, is needed")
        if self.time_limit is not None and not self.time_limit > 0.0:
            raise SpecError(f"time_limit={self.time_limit!r}: seconds above 0 are needed, or None for no limit")
        if self.grad_scale is not None and not 0.0 < self.grad_scale < math.inf:
            raise SpecError(f"grad_scale={self.grad_scale!r}: a finite gradient norm above 0 is needed, or None")

    def verdict(self, state: State, grad_norm: float, scale: float, seconds: float, stop: bool) -> Status | None:
        """Why to stop at ``state``, or None to go on."""
        if not _is_finite(state, grad_norm):
            return Status.DIVERGED
        if grad_norm <= self.tol * max(scale, _TINY):
            return Status.CONVERGED
        if state.status is not None:
            return state.status
        if stop:
            return Status.STOPPED
        if state.iteration >= self.max_iter:
            return Status.MAX_ITER
        if self.time_limit is not None and seconds >= self.time_limit:
            return Status.TIME_LIMIT
        return None


def minimize(
    objective: Objective,
    solver: Solver[Objective, S],
    w0: Vector,
    *,
    tol: float = 1e-6,
    max_iter: int = 100,
    time_limit: float | None = None,
    grad_scale: float | None = None,
    callbacks: Sequence[Callable[[S], bool | None]] = (),
    resume_from: S | None = None,
) -> Result[S]:
    """Minimise ``objective`` from ``w0`` by ``solver``.

    ``w0``: finite, 1-D, float64; never written to. ``tol``: relative to ``grad_scale``, or without it to the gradient
    norm at ``w0``; with 0 only an exactly zero gradient counts as converged. ``max_iter`` counts from ``w0``, also
    when resuming. ``time_limit``: seconds of this call, looked at after each iteration. ``callbacks``: each is called
    with the state after every iteration whose numbers are finite; one that returns True ends the run as STOPPED.
    ``resume_from``: a state of an earlier run from the same ``w0``, to go on from with the same bits (costs one
    evaluation at ``w0`` unless ``grad_scale`` is given).

    Every end is a Result with a named status; only arguments that cannot be honoured raise (SpecError).
    """
    limits = _Limits(tol, max_iter, time_limit, grad_scale)
    _check_pairing(objective, solver)
    _check_start(w0, resume_from)
    began = time.perf_counter()
    # Overflow on the way to a divergence is found by its value and named; it needs no warning besides.
    with np.errstate(over="ignore", invalid="ignore"):
        state, scale = _first_state(objective, solver, w0, grad_scale, resume_from)
        trace = [_trace_point(state)]
        stop = False
        while (status := limits.verdict(state, trace[-1].grad_norm, scale, time.perf_counter() - began, stop)) is None:
            state = solver.step(objective, state)
            if state.iteration > trace[-1].iteration:
                trace.append(_trace_point(state))
                logger.debug("%s: iteration %d, value %.9g, gradient norm %.3g", solver.name, *trace[-1])
                stop = _is_finite(state, trace[-1].grad_norm) and _call(callbacks, state)
    seconds = time.perf_counter() - began
    message = _message(state, status, trace[-1].grad_norm, scale, limits)
    logger.info("%s: %s", solver.name, message)
    return Result(
        w=state.w,
        value=state.value,
        grad_norm=trace[-1].grad_norm,
        grad_scale=scale,
        iterations=state.iteration,
        evaluations=state.evaluations,
        seconds=seconds,
        status=status,
        message=message,
        trace=tuple(trace),
        state=state,
    )


def _first_state(
    objective: Objective, solver: Solver[Objective, S], w0: Vector, grad_scale: float | None, resume_from: S | None
) -> tuple[S, float]:
    if resume_from is not None and grad_scale is not None:
        return resume_from, grad_scale
    start = empty(w0.shape)
    start[:] = w0
    first = solver.init(objective, start)
    scale = norm(first.grad) if grad_scale is None else grad_scale
    return (first if resume_from is None else resume_from), scale


def _trace_point(state: State) -> TracePoint:
    return TracePoint(state.iteration, state.value, norm(state.grad))


def _is_finite(state: State, grad_norm: float) -> bool:
    return math.isfinite(state.value) and math.isfinite(grad_norm)


def _call(callbacks: Sequence[Callable[[S], bool | None]], state: S) -> bool:
    """Whether one of the callbacks asks to stop; each of them is called."""
    answers = [callback(state) for callback in callbacks]
    return any(answers)


def _message(state: State, status: Status, grad_norm: float, scale: float, limits: _Limits) -> str:
    reached = f"relative gradient norm {grad_norm / max(scale, _TINY):.3g}, tol {limits.tol:.3g}"
    if status is Status.CONVERGED:
        return f"converged after {state.iteration} iterations ({reached})"
    if status is Status.MAX_ITER:
        return f"stopped at max_iter={limits.max_iter} before convergence ({reached}): raise max_iter or tol"
    if status is Status.TIME_LIMIT:
        spent = f"stopped at time_limit={limits.time_limit} s after {state.iteration} iterations"
        return f"{spent} ({reached}): raise time_limit or tol"
    if status is Status.STOPPED:
        return f"a callback asked to stop after {state.iteration} iterations ({reached})"
    if status is Status.STALLED:
        return (
            f"stalled after {state.iteration} iterations ({reached}): at floating-point precision no step lowers "
            f"the value {state.value:.9g} any further; scale the features if that is not accurate enough"
        )
    return f"diverged at iteration {state.iteration}: {_why_diverged(state, grad_norm)}"


def _why_diverged(state: State, grad_norm: float) -> str:
    found = f"value {state.value:.9g}, gradient norm {grad_norm:.3g}"
    if state.value == -math.inf or _is_finite(state, grad_norm):
        return f"{found}: the value falls without end, so the objective seems to have no minimum; add a penalty"
    if state.iteration == 0:
        return f"{found} at the starting point: the data or w0 are not finite, or too large; check or scale them"
    return f"{found}: the step is too large, or the data are not finite; lower the step size, or scale the features"


def _check_pairing(objective: object, solver: Solver[Objective, S]) -> None:
    missing = sorted(m for m in solver.needs if not callable(getattr(objective, m, None)))
    if missing:
        raise SpecError(
            f"solver {solver.name} needs {', '.join(missing)}, which the objective {type(objective).__name__} does not "
            "offer: choose a solver that does without, or an objective (its loss and penalty) that offers it"
        )
    term = getattr(objective, "term", None)
    if term is not None and not getattr(solver, "proximal", False):
        kind = getattr(term, "name", type(term).__name__)
        raise SpecError(
            f"solver {solver.name} needs an objective that is smooth, and this one has a term that is not, {kind}: "
            "choose ProximalNewton(), OWLQN() or ProximalGradient()"
        )


def _check_start(w0: Vector, resume_from: State | None) -> None:
    if not isinstance(w0, np.ndarray) or w0.ndim != 1 or w0.dtype != np.float64:
        found = f"{w0.ndim}-D {w0.dtype}" if isinstance(w0, np.ndarray) else type(w0).__name__
        raise SpecError(f"w0 is {found}: a 1-D float64 array is needed, as np.zeros(n) gives")
    bad = np.flatnonzero(~np.isfinite(w0))
    if bad.size:
        raise SpecError(f"w0[{bad[0]}] is {w0[bad[0]]}: finite numbers are needed; start from np.zeros({w0.size})")
    if resume_from is not None and resume_from.w.shape != w0.shape:
        raise SpecError(
            f"resume_from has {resume_from.w.size} parameters, w0 has {w0.size}: resume with the w0 of that run"
        )
