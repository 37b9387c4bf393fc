"""What a fit has done so far, so that one that was interrupted goes on with the same bits.

    a fit  =  part₀, part₁, …        each a minimisation, or numbers that are made once; each begun where others ended

A fit is a pure function of its data and its recipe that asks a :class:`Journal` to do its parts. What the journal has
done already it does not do again: a fit that begins anew with the journal of an interrupted one comes back to where
that one was, and the minimisation that was under way goes on from its last state. The stages of a fit (a path of
penalties, smooth losses ever nearer to one with a kink) need no account of where they stand: what they did is it.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar, get_type_hints

from blockdot import atomic
from blockdot.blocks.dataset import Dataset
from blockdot.blocks.manifest import checksum
from blockdot.blocks.numerics import differences, fingerprint
from blockdot.errors import ExecutionError, SpecError, StoreError
from blockdot.models.checkpoint import Checkpoints, Stored
from blockdot.models.records import Record, decode, describe
from blockdot.solvers import PointState, Result, Solver, State, Status, TracePoint, minimize
from blockdot.vectors import Vector

logger = logging.getLogger(__name__)

_LOCK = ".lock"
_COST = 50.0  # a checkpoint is written no sooner than after so many times the seconds that the last one took
_AFTER_FAILURE = 60.0  # seconds until another one is tried where one could not be written

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
    """The parts that are done, and the last state of the minimisation that is under way.

    A part that is in a checkpoint is held by its name there (:class:`Stored`), and a state that was read from one is a
    :class:`Record`, until the fit asks for it and so says what it must be.
    """

    parts: tuple[object, ...] = ()
    state: object | None = None

    def __str__(self) -> str:
        done = f"{len(self.parts)} parts done" if self.parts else ""
        state: Any = self.state.tree if isinstance(self.state, Record) else self.state
        iteration = state.get("iteration") if isinstance(state, dict) else getattr(state, "iteration", None)
        return ", ".join(filter(None, [done, "" if iteration is None else f"iteration {iteration}"])) or "nothing done"


class Journal:
    """The progress of one fit. Hand the same journal to the same fit again, and it goes on from there.

    It remembers by checkpoints in ``directory``, and is held in a ``with`` block; without a directory it remembers
    nothing. A checkpoint is written at most every ``every`` seconds, and so that they take no more than a fiftieth of
    the time (0: after every iteration); and at the end of the block when it ends by an error, as an interrupt is one.
    A block that ends without an error removes them. ``resume``: go on from the checkpoint that is there, if it is of
    the same fit, and refuse it otherwise. ``strict``: refuse one of a process that computes other bits, where
    otherwise there is a warning.

    Raises StoreError for a directory that cannot be written to, and ExecutionError for one in use by another fit.
    """

    def __init__(
        self, directory: str | Path | None = None, *, every: float = 10.0, resume: bool = True, strict: bool = False
    ) -> None:
        if not 0.0 <= every < math.inf:
            raise SpecError(f"checkpoints are to be written every {every!r} seconds; needed a number of at least 0")
        self.progress = Progress()
        self._place = 0
        self._files = None if directory is None else Checkpoints(Path(directory))
        self._every, self._resume, self._strict = every, resume, strict
        self._subject: dict[str, Any] = {}
        self._kept = self.progress  # what the last checkpoint holds
        self._due = math.inf
        self._held = ExitStack()

    def __enter__(self) -> Self:
        if self._files is not None:
            self._files.open()
            path = self._files.path
            busy = f"{path} is in use by another fit; wait for it, or choose another directory for the checkpoints"
            self._held.enter_context(atomic.locked(path / _LOCK, busy))
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        with self._held:
            if self._files is not None and error is None:
                self._files.clear()
                (self._files.path / _LOCK).unlink(missing_ok=True)
            elif self.progress.parts or self.progress.state is not None:
                self._keep_for_later()

    def begin(self, data: Dataset, **settings: object) -> None:
        """The fit of ``data`` with these ``settings`` begins, or begins again.

        Raises SpecError for a checkpoint of another fit, StoreError where all are damaged.
        """
        self._place = 0
        if self._files is None:
            return
        subject = {"data": _digest(data), **{name: describe(value) for name, value in settings.items()}}
        if self._subject:
            if self._subject != subject:
                raise SpecError("this journal is of another fit: begin with a new one")
            return
        if self._resume:
            self._go_on(self._files, subject)
        elif self._files.are_there():
            logger.warning("the checkpoints in %s are left out, and replaced by those of this run", self._files.path)
        self._subject = subject
        self._due = time.monotonic() + self._every

    def _go_on(self, files: Checkpoints, subject: dict[str, Any]) -> None:
        saved = files.read(subject)
        if saved is None:
            return
        if found := differences(fingerprint(), saved.numerics):
            text = f"the checkpoint in {files.path} was written where other bits are computed ({'; '.join(found)})"
            if self._strict:
                raise ExecutionError(
                    f'{text}; reproducible = "strict" needs the same: go on there, or begin the fit again here'
                )
            logger.warning("%s: the model's last digits may be others than those of an undisturbed run", text)
        self.progress = self._kept = Progress(saved.parts, saved.state)
        logger.info("goes on from the checkpoint in %s: %s", files.path, self.progress)

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
        if ended is not None:
            return ended.result()
        state: Any = self.progress.state
        if isinstance(state, Record):
            state = decode(get_type_hints(type(solver).init)["return"], state)
        result = minimize(
            objective,
            solver,
            w0,
            tol=tol,
            max_iter=max_iter,
            grad_scale=grad_scale,
            callbacks=[self._keep, *callbacks],
            resume_from=state,
        )
        ended = Ended.of(result)
        self._add(ended)
        return replace(result, state=ended.point())

    def _keep_for_later(self) -> None:
        if self.progress is not self._kept:
            self.save()
        if self._files is not None and self.progress is self._kept:
            logger.info("the fit can go on from the checkpoint in %s: %s", self._files.path, self.progress)

    def save(self) -> None:
        """Write a checkpoint now. One that cannot be written is warned of: the fit can do without."""
        if self._files is None:
            return
        began, wait = time.monotonic(), self._every
        try:
            with atomic.undisturbed():
                progress = self.progress
                parts = self._files.write(self._subject, fingerprint(), progress.parts, progress.state)
                self.progress = self._kept = Progress(parts, progress.state)
        except (OSError, StoreError) as error:
            logger.warning("%s. The fit goes on without this checkpoint", error)
            wait = max(wait, _AFTER_FAILURE)
        else:
            logger.debug("checkpoint in %s: %s", self._files.path, progress)
        now = time.monotonic()
        self._due = now + (max(wait, _COST * (now - began)) if wait else 0.0)

    def _next(self, kind: type[T]) -> T | None:
        """The next part, if it is done."""
        place, self._place = self._place, self._place + 1
        if place >= len(self.progress.parts):
            return None
        found = self.progress.parts[place]
        if self._files is not None and isinstance(found, Stored):
            return decode(kind, self._files.record(found))
        if not isinstance(found, kind):
            raise SpecError(f"part {place} of this journal is of another fit: begin with a new one")
        return found

    def _add(self, part: object) -> None:
        if self._files is not None:  # without, nothing would be done with it but fill the memory
            self.progress = Progress((*self.progress.parts, part))

    def _keep(self, state: State) -> None:
        if self._files is None:
            return
        # One assignment, so that whoever looks, after whatever interrupt, sees a state with the parts that led to it.
        self.progress = self.progress._replace(state=state)
        if time.monotonic() >= self._due:
            self.save()


def _digest(data: Dataset) -> str:
    """Of a store its digest, of a data set in memory a checksum of all of its arrays."""
    if data.digest is not None:
        return data.digest
    blocks = [describe(data.source.block(i)) for i in range(data.n_blocks)]
    return checksum(json.dumps(blocks, sort_keys=True).encode())
