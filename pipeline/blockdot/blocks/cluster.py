"""The connection to a Dask scheduler, and what is known of its workers.

A worker that comes is greeted once, before it is given work: its address must be one that work may be sent to; it says
which version of the library it has, and whether it sees this process's mailbox; and it answers what else is required.
One that must not be given work is an error at the start, and is left out with a warning when it comes later. Nothing is
ever submitted to a worker that was not greeted.

What is known is looked at again after a second. A question that the scheduler does not answer, or an answer from
another scheduler than before, means that all is lost that was submitted: SchedulerLostError.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from distributed import Client, Future
from distributed.client import ClosedClientError

import blockdot
from blockdot.blocks.crew import Crew
from blockdot.blocks.opened import copies
from blockdot.blocks.pages import pages, reuse_freed_memory
from blockdot.blocks.parcel import Mailbox
from blockdot.errors import BlockdotError, ExecutionError

logger = logging.getLogger(__name__)

Out = TypeVar("Out")

LOOK = 1.0
"""Seconds of waiting after which to look what the matter is; and the age at which what is known is looked at again."""

_ANSWER, _ANSWERS = 5.0, 60.0  # seconds in which the scheduler or a worker must answer, and what takes longer than that
_LATER = 30.0  # seconds after which a worker that did not answer is asked again


class SchedulerLostError(Exception):
    """What was submitted is lost."""


class Cluster:
    """The cluster that ``client`` is connected to.

    ``wait_seconds``: how long to wait for a first worker, or for the scheduler to come back. ``admit`` raises a
    BlockdotError for the address of a worker that nothing must be sent to.
    """

    def __init__(self, client: Client, wait_seconds: float, admit: Callable[[str], None] | None) -> None:
        self.client = client
        self.crew = Crew()
        self._given = client
        self._wait_seconds = wait_seconds
        self._address, self._security = client.scheduler.address, client.security
        self._known: dict[str, bool] = {}  # workers that were greeted, and whether they see the mailbox
        self._later: dict[str, float] = {}  # workers that did not reply, and when to greet them again
        self._left_out: dict[str, str] = {}  # workers that must not be given work, and why
        self._paused: set[str] = set()  # workers that take no work for now, says the scheduler
        self._admit = admit
        self._required: dict[Callable[[], Any], Callable[[str, Any], None]] = {}  # questions, and judges
        self._met = False  # whether there was a worker: those that come from then on are newcomers
        self._looked = -LOOK
        self._scheduler = ""
        self._box = Mailbox.made()
        if self._box is not None:
            weakref.finalize(self, self._box.close)

    def close(self) -> None:
        """Take the mailbox away. The client that was handed in stays open."""
        if self._box is not None:
            self._box.close()
        if self.client is not self._given:
            self.client.close()

    def meet(self, anew: bool = False) -> None:
        """Know who the workers are, if that was not looked at a moment ago; wait for the first one that answers."""
        if not anew and self.ready and time.monotonic() - self._looked < LOOK:
            return
        began, told = time.monotonic(), False
        while True:
            try:
                self.sync(self._learn())
            except SchedulerLostError as error:
                self.reconnect(str(error))
            if self.ready:
                return
            if time.monotonic() - began > self._wait_seconds:
                raise ExecutionError(
                    f"the scheduler at {self._address} has had no worker {self._lacks()}for {self._wait_seconds:g} s; "
                    f"start one (dask worker {self._address})"
                )
            if not told:
                logger.warning("waiting for a worker at %s", self._address)
                told = True
            time.sleep(0.2)

    def _lacks(self) -> str:
        if self.crew.workers:
            return "that answers "
        return f"that may be given work ({next(iter(self._left_out.values()))}) " if self._left_out else ""

    def require(self, question: Callable[[], Out], judge: Callable[[str, Out], None]) -> None:
        """Ask each worker, and each that comes, before it is given work: ``judge`` is told its address and its answer.

        A BlockdotError of the judge is raised for the workers that are there; who comes later is left out for it.
        """
        self._required[question] = judge
        self._known.clear()
        self._met = False
        self.meet(anew=True)

    async def _learn(self) -> None:
        found = await self.asked(self.client.scheduler.identity(n_workers=-1))
        if self._scheduler and found["id"] != self._scheduler:
            raise SchedulerLostError("the scheduler is another one than before")
        self._scheduler, workers = found["id"], found["workers"]
        self._known = {name: sees for name, sees in self._known.items() if name in workers}
        self._left_out = {name: why for name, why in self._left_out.items() if name in workers}
        await self._greet_all(name for name in workers if name not in self._known)
        workers = {name: worker for name, worker in workers.items() if name not in self._left_out}
        self._paused = {name for name, worker in workers.items() if worker["status"] != "running"}
        threads = {name: worker["nthreads"] for name, worker in workers.items()}
        silent = self.crew.silent
        heartbeats = {name: worker["last_seen"] for name, worker in workers.items()}
        self.crew.update(threads, heartbeats, time.monotonic())
        for name in sorted(self.crew.silent - silent):
            logger.warning("worker %s has gone silent: its calls are made again by the others", name)
        self._met = self._met or bool(self.ready)
        self._looked = time.monotonic()

    async def _greet_all(self, names: Iterable[str]) -> None:
        new = sorted(name for name in names if name not in self._left_out and name not in self.crew.silent)
        for name, refusal in zip(new, await asyncio.gather(*map(self._greet, new)), strict=True):
            if refusal is None:
                continue
            if not self._met:
                raise refusal
            self._left_out[name] = str(refusal)
            logger.warning("a worker that came later is left out, and the work goes on without it: %s", refusal)

    async def _greet(self, name: str) -> BlockdotError | None:
        """See what a new worker is; why it must not be given work, if so."""
        if time.monotonic() < self._later.get(name, 0.0):
            return None
        try:
            if self._admit is not None:
                self._admit(name)
            reply = await self._told(name, _ANSWER, _reply, None if self._box is None else str(self._box.path))
            version, sees = reply if isinstance(reply, tuple) else (f"no blockdot ({reply})", False)
            if version != blockdot.__version__:
                raise ExecutionError(
                    f"worker {name} has {version}, and this process blockdot {blockdot.__version__}: "
                    "install the same version on both"
                )
            for question, judge in self._required.items():
                answer = await self._told(name, _ANSWER if self._met else _ANSWERS, question)
                if isinstance(answer, Exception):
                    raise ExecutionError(f"worker {name} fails at what it is asked first: {answer!r}")
                judge(name, answer)
        except BlockdotError as error:
            return error
        except OSError:  # it left, or it is frozen
            self._later[name] = time.monotonic() + _LATER
        else:
            self._known[name] = sees
        return None

    async def _told(self, name: str, seconds: float, function: Callable[..., Any], *arguments: object) -> Any:
        """What ``function`` returned or raised on the worker ``name``; OSError if nothing comes from it."""
        question = self.client.run(function, *arguments, workers=[name], on_error="return", asynchronous=True)
        try:
            answer = (await asyncio.wait_for(question, seconds))[name]
        except KeyError as error:
            raise OSError(str(error)) from None
        if isinstance(answer, OSError):
            raise answer
        return answer

    @property
    def ready(self) -> list[str]:
        """The workers that work can be given to: those that take it now, if there are any."""
        able = [name for name in self.crew.healthy if name in self._known]
        return [name for name in able if name not in self._paused] or able

    @property
    def box(self) -> Mailbox | None:
        """The mailbox, if every worker sees it."""
        return self._box if self._known and all(self._known.values()) else None

    async def asked(self, question: Any, seconds: float = _ANSWER) -> Any:
        """What the scheduler answers; SchedulerLostError if it does not."""
        try:
            return await asyncio.wait_for(question, seconds)
        except (OSError, TimeoutError) as error:
            raise SchedulerLostError(f"the scheduler does not answer ({error or type(error).__name__})") from None

    def sync(self, coroutine: Any) -> Any:
        """Run ``coroutine`` where the client's connections are, and wait for it."""

        async def run() -> Any:
            return await coroutine

        return self.client.sync(run)

    def reconnect(self, why: str) -> None:
        """A new client: an old one of a scheduler that was started again waits for ever."""
        logger.warning("%s: connecting to %s again", why, self._address)
        deadline = time.monotonic() + self._wait_seconds
        old, self.client = self.client, None
        with suppress(Exception):
            old.close(timeout=1)
        while True:
            try:
                self.client = Client(self._address, security=self._security, timeout=2, set_as_default=False)
                break
            except (OSError, ValueError) as error:
                if time.monotonic() > deadline:
                    self.client = old
                    raise ExecutionError(
                        f"the scheduler at {self._address} is gone, and has not come back for "
                        f"{self._wait_seconds:g} s ({error}); start it and its workers again, then run the same command"
                    ) from None
                time.sleep(0.2)
        self._known.clear()
        self._left_out.clear()
        self.crew, self._scheduler = Crew(), ""

    def everywhere(self, function: Callable[[], Out]) -> dict[str, Out]:
        """``function()`` in each worker process that answers, by its address."""
        self.meet()
        question = self.client.run(function, workers=self.ready, on_error="return", asynchronous=True)
        answers: dict[str, Any] = self.sync(self.asked(question, _ANSWERS))
        for answer in answers.values():
            if isinstance(answer, Exception) and not isinstance(answer, OSError):  # OSError: a worker that has gone
                raise answer
        return {name: answer for name, answer in answers.items() if not isinstance(answer, Exception)}

    def submit(
        self, name: str, workers: Sequence[str], function: Callable[..., Any], *arguments: object
    ) -> Future[Any]:
        """Have one of ``workers`` do it, and no other: the scheduler would give it to workers that were not greeted.

        Nothing is taken from an earlier call. If all of them go, nobody does it, and it is for the caller to see that.
        """
        if not workers:
            raise SchedulerLostError("no worker is known yet")
        try:
            return self.client.submit(
                function, *arguments, key=f"blockdot-{name}-{uuid.uuid4().hex}", pure=False,
                workers=list(workers), allow_other_workers=False,
            )  # fmt: skip
        except ClosedClientError as error:
            raise SchedulerLostError(str(error)) from None


def _reply(box: str | None, dask_worker: Any) -> tuple[str, bool]:
    """This worker's version of the library, and whether it sees the folder."""
    settle(dask_worker)
    return blockdot.__version__, box is not None and Path(box).is_dir()


def settle(worker: Any) -> None:
    """Set this worker process up for calls.

    By the first of its greeting and its calls: one that was started again at the same address is not greeted again.
    """
    _settled(Path(worker.local_directory), worker.memory_manager.memory_limit or None)


@cache
def _settled(folder: Path, memory_limit: int | None) -> None:
    copies.use(folder / "blockdot-stores")
    pages.allow(memory_limit)  # or Dask ends the process: mapped pages are its memory, too
    reuse_freed_memory()
