"""Work on a Dask cluster: the same verb as threads, over the workers of a running scheduler.

Only this process submits. A call is a function of its item and of arguments that all calls share, and of nothing that
an earlier call left on a worker; so it can be made again, anywhere, at any time, to the same bits. That is the answer
to every fault:

    a worker dies                          its calls are made again by the others; after a few deaths one is given up
    a worker goes silent (frozen)          its calls are made again by the others, whichever copy comes first counts
    a call takes far longer than others    it is made a second time
    the scheduler is lost, or restarted    all calls that are open are made again through a new client
    no worker is left                      a message, and after ``wait_seconds`` an error
    a worker cannot see the store          the files that it asks for are sent to it
    a worker comes                         it is asked what the first ones were, and is given work from the next pass on

Arguments are packed into parcels (parcel.py). A small one travels with its call. A large one lies in a mailbox where
all workers are on this machine, and otherwise travels once, through an identity task that the calls depend on: of the
ways to send a vector it is the cheap one that survives the loss of the worker that holds it. The last few stay where
they are, so that a solver that asks for many products at one point sends the point once.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import xxhash
from distributed import Client, Future, KilledWorker, get_worker
from distributed.utils_comm import gather_from_workers

from blockdot.blocks.cluster import LOOK, Cluster, SchedulerLostError, settle
from blockdot.blocks.opened import NotHereError, copies
from blockdot.blocks.parcel import SMALL, Mailbox, Parcel, ParcelLostError
from blockdot.errors import ExecutionError, WorkersKilledError

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from dask.array import Array as Array

Item = TypeVar("Item")
Out = TypeVar("Out")

_KEPT = 6  # large arguments that stay on the workers after a call: the point of a Newton step, and some more
_AHEAD = 4  # calls a thread that are on their way at the same time
_DEATHS = 2  # copies of a call all of whose workers went: it is given up
_SLOW, _TIMES = 60.0, 5.0  # a call is slow after so many seconds, and after so many times the longest call so far


@dataclass(eq=False)
class _Call:
    """A call on its way: the copies of it that were made, who may do each, and when the last of them was made."""

    item: Any
    home: str | None
    copies: list[Future[Any]] = field(default_factory=list)
    given: dict[str, frozenset[str]] = field(default_factory=dict)
    files: list[Parcel] = field(default_factory=list)
    began: float = 0.0
    alarms: int = 0

    def lost(self, workers: Set[str]) -> int:
        """The number of its copies that none of ``workers``, who are there, may do."""
        return sum(self.given[copy.key].isdisjoint(workers) for copy in self.copies)


class DaskPool:
    """The workers of the cluster that ``client`` is connected to.

    ``wait_seconds``: how long to wait for a first worker, or for the scheduler to come back. ``admit`` is called with
    the address of each worker before anything is sent to it, and raises a BlockdotError for one that must get nothing.
    """

    shares_memory = False

    def __init__(self, client: Client, wait_seconds: float = 60.0, admit: Callable[[str], None] | None = None) -> None:
        self.cluster = Cluster(client, wait_seconds, admit)
        self._sent: OrderedDict[str, Parcel | Future[Any]] = OrderedDict()  # large arguments, by digest
        self._delivered: dict[tuple[str, str, str], float] = {}  # when a file of a store was sent to a worker
        self._longest = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take away what was sent. The client that was handed in stays open."""
        self._sent.clear()
        self.cluster.close()

    @property
    def n_workers(self) -> int:
        """Threads of all workers that are there now; waits for the first worker."""
        self.cluster.meet()
        return len(self.cluster.crew.seats)

    @property
    def n_calls(self) -> int:
        """One for each thread: each more is a sum more that travels."""
        return self.n_workers

    def map(self, function: Callable[..., Out], items: Iterable[Item], *shared: object) -> Iterator[Out]:
        """Results in the order of the items; a few calls run ahead."""
        queue = list(items)
        self.cluster.meet()
        seats = list(self.cluster.crew.seats)
        errand = _Errand(self, function, tuple(shared))
        calls: deque[_Call] = deque()
        try:
            for i, item in enumerate(queue):
                calls.append(_Call(item, seats[i] if len(queue) <= len(seats) else None))
                with suppress(SchedulerLostError):  # it is begun again when it is waited for
                    errand.begin(calls[-1])
                if len(calls) >= _AHEAD * len(seats):
                    yield self._first(errand, calls)
            while calls:
                yield self._first(errand, calls)
        finally:
            self._drop(calls)

    def everywhere(self, function: Callable[[], Out]) -> dict[str, Out]:
        """``function()`` in each worker process that answers, by its address."""
        return self.cluster.everywhere(function)

    def require(self, question: Callable[[], Out], judge: Callable[[str, Out], None]) -> None:
        """Have each worker process, also one that comes later, judged by its answer before it is given work."""
        self.cluster.require(question, judge)

    # ---- one call

    def _first(self, errand: _Errand, calls: deque[_Call]) -> Any:
        """The result of the first call, which is taken from ``calls``; made again as often as faults make it needed."""
        call = calls[0]
        while True:
            try:
                if not call.copies or any(copy.client is not self.cluster.client for copy in call.copies):
                    self.cluster.meet()
                    errand.begin_again(calls)
                answer = self.cluster.sync(self._answer(call.copies))
                if answer is None:
                    self._look(errand, calls)
                    continue
                result = errand.opened(answer)
                if isinstance(result, _Wanted):
                    self._send_files(result, call.began)
                    self._drop([call])
                    call.home, call.copies = result.worker, []
                    errand.begin(call)
                    continue
            except SchedulerLostError as error:
                self.cluster.reconnect(str(error))
            except ParcelLostError:
                self.cluster.meet(anew=True)
                call.copies = []
            except KilledWorker as error:
                raise WorkersKilledError(str(error)) from error
            else:
                self._drop([calls.popleft()])
                self._longest = max(self._longest, time.monotonic() - call.began)
                return result

    async def _answer(self, copies: Sequence[Future[Any]]) -> Any:
        """What the first copy to end returned; None when none of them has ended after a while."""
        tasks = [asyncio.ensure_future(self._value(copy)) for copy in copies]
        try:
            done, _ = await asyncio.wait(tasks, timeout=LOOK, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result() if done else None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _value(self, future: Future[Any]) -> Any:
        """What a call returned, fetched from its worker by a connection of its own.

        ``Client.gather`` would wait for an earlier fetch from a worker that is frozen.
        """
        while True:
            error = await future.exception()  # waits
            if future.status == "cancelled":
                raise SchedulerLostError("the connection to the scheduler broke")
            if error is not None:
                raise error
            who_has = await self.cluster.asked(self.cluster.client.scheduler.who_has(keys=[future.key]))
            data, *_ = await gather_from_workers(who_has, rpc=self.cluster.client.rpc)
            if future.key in data:
                return data[future.key]
            await asyncio.sleep(0.05)  # its worker died with it: the scheduler has it made again

    def _look(self, errand: _Errand, calls: deque[_Call]) -> None:
        """See why nothing has come of the first call for a while, and do something about it."""
        self.cluster.meet(anew=True)
        call, crew = calls[0], self.cluster.crew
        unsure = [other for other in calls if other.alarms < crew.alarms]
        if call in unsure:
            if call.lost(crew.workers) >= _DEATHS:
                raise WorkersKilledError(f"its workers went {_DEATHS} times while they had it")
            errand.begin_again([other for other in unsure if other is call or other.lost(crew.workers)])
        elif time.monotonic() - call.began > max(_SLOW, _TIMES * self._longest) and len(call.copies) < 3:
            logger.warning("a call takes longer than %.0f s: it is made a second time", time.monotonic() - call.began)
            busy = self.cluster.sync(self._busy_with(call))
            errand.begin(call, [worker for worker in self.cluster.ready if worker not in busy])

    async def _busy_with(self, call: _Call) -> set[str]:
        keys = {copy.key for copy in call.copies}
        found = await self.cluster.asked(self.cluster.client.scheduler.processing(workers=None))
        return {worker for worker, working in found.items() if keys & set(working)}

    def _drop(self, calls: Iterable[_Call]) -> None:
        """Forget calls, here and there."""
        for call in calls:
            for file in call.files:
                self._forget(file)
            with suppress(Exception):  # the scheduler is gone, and what it was to forget with it
                self.cluster.client.cancel(call.copies)

    # ---- what travels

    def send(self, value: object) -> Parcel | Future[Any]:
        """What a call is given for the argument ``value``."""
        parcel = Parcel.of(value)
        if parcel.nbytes <= SMALL:
            return parcel
        digest = xxhash.xxh3_128(parcel.head)
        for array in parcel.arrays:
            digest.update(array.data)
        key, box = digest.hexdigest(), self.cluster.box
        sent = self._sent.pop(key, None)
        if isinstance(sent, Future) and sent.status in ("error", "cancelled", "lost"):
            sent = None
        if sent is None:
            sent = parcel if box is None else box.put(parcel)
            if not sent.file:
                sent = self.cluster.submit("vector", self.cluster.ready, _identity, sent)
        self._sent[key] = sent
        while len(self._sent) > _KEPT:
            self._forget(self._sent.popitem(last=False)[1])
        return sent

    def forget_all(self) -> None:
        """Send anew from now on."""
        for sent in self._sent.values():
            self._forget(sent)
        self._sent.clear()

    def _forget(self, sent: Parcel | Future[Any]) -> None:
        if isinstance(sent, Parcel) and self.cluster.box is not None:
            self.cluster.box.drop(sent)

    def _send_files(self, wanted: _Wanted, asked: float) -> None:
        """Send files of a store to a worker that cannot see it, but for those sent since it asked."""
        keys = {file: (wanted.worker, wanted.digest, file) for file in wanted.files}
        files = [file for file in wanted.files if self._delivered.get(keys[file], -math.inf) < asked]
        if files:
            logger.info("sending %d files of %s to %s", len(files), wanted.store, wanted.worker)
        for file in files:
            try:
                data = (wanted.store / file).read_bytes()
            except OSError as error:
                raise ExecutionError(f"{wanted.store / file} cannot be read, to be sent to a worker: {error}") from None
            self.cluster.sync(self._deliver(wanted, file, data))
            self._delivered[keys[file]] = time.monotonic()

    async def _deliver(self, wanted: _Wanted, file: str, data: bytes) -> None:
        cluster = self.cluster
        future = cluster.submit("file", [wanted.worker], _receive, wanted.digest, file, data)
        end = time.monotonic() + _SLOW
        while time.monotonic() < end:
            with suppress(TimeoutError):
                error = await asyncio.wait_for(future.exception(), LOOK)
                if error is not None:
                    raise error
                return
            if not await cluster.asked(cluster.client.scheduler.ncores(workers=[wanted.worker])):
                return  # it asks again where it comes back


@dataclass(frozen=True)
class _Wanted:
    """Files of a store that a worker asks for."""

    worker: str
    store: Path
    digest: str
    files: tuple[str, ...]


@dataclass(eq=False)
class _Errand:
    """A function, and the arguments that all calls of it share."""

    pool: DaskPool
    function: Callable[..., Any]
    shared: tuple[object, ...]
    _sent: list[Parcel | Future[Any]] | None = None

    def begin(self, call: _Call, workers: Sequence[str] | None = None) -> _Call:
        """Make one more copy of a call: at home, if nothing else is said."""
        pool, cluster = self.pool, self.pool.cluster
        if self._sent is None:
            self._sent = [pool.send(value) for value in self.shared]
        ready = cluster.ready
        if workers is None and call.home is not None:
            workers = [worker for worker in ready if worker == call.home]
        workers = workers or ready
        box, name = cluster.box, getattr(self.function, "__name__", "call").strip("_")
        work = Parcel.of((self.function, call.item))
        if box is not None:
            work = box.put(work)
            call.files.append(work)
        copy = cluster.submit(name, workers, _call, work, None if box is None else str(box.path), *self._sent)
        call.copies.append(copy)
        call.given[copy.key] = frozenset(workers)
        call.began, call.alarms = time.monotonic(), cluster.crew.alarms
        return call

    def begin_again(self, calls: Iterable[_Call]) -> None:
        """Send everything again, and make another copy of each call; those of a client that is gone are forgotten."""
        self.pool.forget_all()
        self._sent = None
        for call in calls:
            call.copies = [copy for copy in call.copies if copy.client is self.pool.cluster.client]
            self.begin(call)

    def opened(self, parcel: Parcel) -> Any:
        """What a call returned."""
        box = self.pool.cluster.box
        return parcel.open() if box is None else box.taken(parcel)


def _identity(value: object) -> object:
    return value


def _receive(digest: str, file: str, data: bytes) -> None:
    copies.receive(digest, file, data)


def _call(work: Parcel, box: str | None, *sent: Parcel) -> Parcel:
    settle(get_worker())
    function, item = work.open()
    try:
        result = function(item, *(parcel.open() for parcel in sent))
    except NotHereError as error:
        result = _Wanted(get_worker().address, error.store, error.digest, error.files)
    parcel = Parcel.of(result)
    return parcel if box is None else Mailbox(Path(box)).put(parcel)


def lazy_rows(make: Callable[[int], Any], rows: Sequence[int], n_columns: int, like: Any) -> Array:
    """A Dask array of ``make(0)``, ``make(1)``, … one below the other, with so many rows each; made when computed."""
    import dask.array as da
    from dask import delayed

    if not rows:
        return da.from_array(like, chunks=like.shape)
    chunk = delayed(make, pure=False)
    parts = [da.from_delayed(chunk(i), (n, n_columns), dtype=like.dtype, meta=like) for i, n in enumerate(rows)]
    return da.concatenate(parts)
