"""What a fit has done so far, so that one that was interrupted goes on with the same bits.

    a fit  =  part₀, part₁, …        each a minimisation, or numbers that are made once; each begun where others ended

A fit is a pure function of its data and its recipe that asks a :class:`Journal` to do its parts. What the journal has
done already it does not do again: a fit that begins anew with the journal of an interrupted one comes back to where
that one was, and the minimisation that was under way goes on from its last state. The stages of a fit (a path of
penalties, smooth losses ever nearer to one with a kink) need no account of where they stand: what they did is it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from blockdot.errors import SpecError
from blockdot.solvers import PointState, Result, Solver, State, Status, TracePoint, minimize
from blockdot.vectors import Vector

T = TypeVar("T")
Callback = Callable[[State], bool | None]


class Ended(NamedTuple):
    """A minimisation that has ended: its result without what only the next iteration needs."""

    w: Vector
    value: float
    grad: Vector
    grad_norm: float
    grad_scale: float
    iterations: int
    evaluations: int
    status: Status
    message: str

    @classmethod
    def of(cls, result: Result[Any]) -> Ended:
        """What stays of ``result``."""
        return cls(
            result.w,
            result.value,
            result.state.grad,
            result.grad_norm,
            result.grad_scale,
            result.iterations,
            result.evaluations,
            result.status,
            result.message,
        )

    def point(self) -> PointState:
        """Where it ended."""
        return PointState(self.w, self.value, self.grad, self.iterations, self.evaluations)

    def result(self) -> Result[PointState]:
        """As :func:`minimize` gave it, but for its time, and the trace, of which there is the last point."""
        last = TracePoint(self.iterations, self.value, self.grad_norm)
        return Result(
            self.w, self.value, self.grad_norm, self.grad_scale, self.iterations, self.evaluations, 0.0, self.status,
            self.message, (last,), self.point(),
        )  # fmt: skip


class Progress(NamedTuple):
    """The parts that are done, and the last state of the minimisation that is under way."""

    done: tuple[object, ...] = ()
    state: State | None = None


class Journal:
    """The progress of one fit. Hand the same journal to the same fit again, and it goes on from there."""

    def __init__(self) -> None:
        self.progress = Progress()
        self._place = 0

    def begin(self) -> None:
        """The fit begins, or begins again."""
        self._place = 0

    def once(self, kind: type[T], make: Callable[..., T], *arguments: object) -> T:
        """The next part: what ``make(*arguments)`` gives, a ``kind`` of named tuple."""
        found = self._next(kind)
        if found is None:
            found = make(*arguments)
            self._add(found)
        return found

    def minimize(
        self,
        objective: Any,
        solver: Solver[Any, Any],
        w0: Vector,
        *,
        tol: float,
        max_iter: int,
        grad_scale: float | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> Result[PointState]:
        """The next part: :func:`minimize` with these arguments."""
        ended = self._next(Ended)
        if ended is None:
            result = minimize(
                objective,
                solver,
                w0,
                tol=tol,
                max_iter=max_iter,
                grad_scale=grad_scale,
                callbacks=[self._keep, *callbacks],
                resume_from=self.progress.state,
            )
            ended = Ended.of(result)
            self._add(ended)
            return replace(result, state=ended.point())
        return ended.result()

    def _next(self, kind: type[T]) -> T | None:
        """The next part, if it is done."""
        place, self._place = self._place, self._place + 1
        if place == len(self.progress.done):
            return None
        found = self.progress.done[place]
        if not isinstance(found, kind):
            raise SpecError(f"part {place} of this journal is of another fit: begin with a new one")
        return found

    def _add(self, part: object) -> None:
        self.progress = Progress((*self.progress.done, part))

    def _keep(self, state: State) -> None:
        # one assignment, so that whoever looks, after whatever interrupt, sees a state with the parts that led to it
        self.progress = self.progress._replace(state=state)
