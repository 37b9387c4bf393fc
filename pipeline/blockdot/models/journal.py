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
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar, get_type_hints

from blockdot import atomic
from blockdot.blocks.dataset import Dataset
from blockdot.blocks.manifest import checksum
from blockdot.blocks.numerics import differences, fingerprint
from blockdot.errors import ExecutionError, SpecError, StoreError
from blockdot.models.checkpoint import Checkpoints, Progress, Stored
from blockdot.models.records import decode, describe
from blockdot.solvers import PointState, Result, Solver, State, Status, TracePoint, minimize
from blockdot.vectors import Vector

logger = logging.getLogger(__name__)

_COST = 50.0  # a checkpoint is written no sooner than after so many times the seconds that the last one took
_AFTER_FAILURE = 60.0  # seconds until another one is tried where one could not be written

T = TypeVar("T")
Item = TypeVar("Item")
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
            self._held.enter_context(self._files.held())
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        with self._held:
            if self._files is not None and error is None:
                self._files.clear()
            elif self.progress.parts or self.progress.state is not None:
                self._keep_for_later()

    def begin(self, data: Dataset, **settings: object) -> None:
        """The fit of ``data`` with these ``settings`` begins, or begins again.

        Raises SpecError for a checkpoint of another fit, StoreError where all are damaged.
        """
        self._place = 0
        if self._files is None:
            return
        subject = {"data": digest_of(data), **{name: describe(value) for name, value in settings.items()}}
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
        progress, numerics = saved
        if found := differences(fingerprint(), numerics):
            text = f"the checkpoint in {files.path} was written where other bits are computed ({'; '.join(found)})"
            if self._strict:
                raise ExecutionError(
                    f'{text}; reproducible = "strict" needs the same: go on there, or begin the fit again here'
                )
            logger.warning("%s: the model's last digits may be others than those of an undisturbed run", text)
        self.progress = self._kept = progress
        logger.info("goes on from the checkpoint in %s: %s", files.path, self.progress)

    def once(self, kind: type[T], make: Callable[..., T], *arguments: object) -> T:
        """The next part: what ``make(*arguments)`` gives, a ``kind`` of named tuple."""
        found = self._next(kind)
        if found is None:
            found = make(*arguments)
            self._add(found)
        return found

    def along(
        self, kind: type[T], items: Iterable[Item], w: Vector, step: Callable[[Item, Vector], tuple[T, Vector]]
    ) -> list[T]:
        """The next parts, one for each item: ``step(item, w)`` gives one, a ``kind``, and the w where the next starts.

        Of the parts that a step is made of, and of all w but the last, nothing is kept.
        """
        made: list[T] = []
        start: Vector | None = w
        for item in items:
            # of a step that was interrupted, the next part is one of those that it is made of
            if self._is_next(kind) and (found := self._next(kind)) is not None:
                made.append(found)
                start = None
                continue
            place = self._place
            part, start = step(item, self._read(Vector, self.progress.start) if start is None else start)
            self._place = place + 1
            self._add(part, place, start)
            made.append(part)
        return made

    def advance(self, kind: type[T], start: Callable[[], T], step: Callable[[T], T | None]) -> T:
        """The next part: the last of the states, a ``kind``, that ``step`` leads to from ``start()``; None is the end.

        A state is kept as that of a minimisation is, and a part that was interrupted goes on from there.
        """
        found = self._next(kind)
        if found is None:
            kept = self._read(kind, self.progress.state)
            found = start() if kept is None else kept
            while (following := step(found)) is not None:
                found = following
                self._keep(found)
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
        result = minimize(
            objective,
            solver,
            w0,
            tol=tol,
            max_iter=max_iter,
            grad_scale=grad_scale,
            callbacks=[self._keep, *callbacks],
            resume_from=self._read(get_type_hints(type(solver).init)["return"], self.progress.state),
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
                self.progress = self._kept = self._files.write(self._subject, fingerprint(), self.progress)
        except (OSError, StoreError) as error:
            logger.warning("%s. The fit goes on without this checkpoint", error)
            wait = max(wait, _AFTER_FAILURE)
        else:
            logger.debug("checkpoint in %s: %s", self._files.path, self.progress)
        now = time.monotonic()
        self._due = now + (max(wait, _COST * (now - began)) if wait else 0.0)

    def _is_next(self, kind: type[Any]) -> bool:
        """Whether the next part is done, and a ``kind``."""
        if self._place >= len(self.progress.parts):
            return False
        part = self.progress.parts[self._place]
        return kind.__name__ == (part.kind if isinstance(part, Stored) else type(part).__name__)

    def _next(self, kind: type[T]) -> T | None:
        """The next part, a ``kind``; None if it is not done yet."""
        if self._place < len(self.progress.parts) and not self._is_next(kind):
            raise SpecError(f"part {self._place} of this journal is no {kind.__name__}: it is of another fit")
        place, self._place = self._place, self._place + 1
        found: T | None = None
        if place < len(self.progress.parts):
            found = self._read(kind, self.progress.parts[place])
        return found

    def _read(self, kind: Any, value: object) -> Any:
        """The value, from its file where it is there."""
        if self._files is not None and isinstance(value, Stored):
            return decode(kind, self._files.record(value))
        return value

    def _add(self, part: object, place: int | None = None, start: object | None = None) -> None:
        """The part at ``place`` is done (by default the one after those that are), and the next begins at ``start``."""
        if self._files is not None:  # without, nothing would be done with it but fill the memory
            before, kept = self.progress.parts[:place], self.progress.start if start is None else start
            self.progress = Progress((*before, part), kept)

    def _keep(self, state: object) -> None:
        if self._files is None:
            return
        # One assignment, so that whoever looks, after whatever interrupt, sees a state with the parts that led to it.
        self.progress = self.progress._replace(state=state)
        if time.monotonic() >= self._due:
            self.save()


def digest_of(data: Dataset) -> str:
    """Of a store its digest, of a data set in memory a checksum of all of its arrays."""
    if data.digest is not None:
        return data.digest
    blocks = [describe(data.source.block(i)) for i in range(data.n_blocks)]
    return checksum(json.dumps(blocks, sort_keys=True).encode())
