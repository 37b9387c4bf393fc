"""Work on a Dask cluster: the same verb as threads, over the workers of a running scheduler.

Only this process submits. The arguments that all calls share travel once, through identity tasks that the others depend
on: of the ways to send a vector it is the cheap one that survives the loss of the worker that holds it. The last few
vectors stay where they are, so that a solver that asks for many products at one point sends the point once. Every call
has keys of its own, and what no worker holds any more is sent again, so a lost worker costs a repetition only.
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import takewhile
from typing import Any, TypeVar

import numpy as np
import xxhash
from distributed import Client, KilledWorker

from blockdot.errors import ExecutionError

Item = TypeVar("Item")
Out = TypeVar("Out")

# Vectors that stay on the workers after a call: the point of a Newton step, and some more of the caller's.
_VECTORS = 4


class DaskPool:
    """The workers of the cluster that ``client`` is connected to."""

    shares_memory = False

    def __init__(self, client: Client, wait_seconds: float = 60.0) -> None:
        self.client = client
        self._wait_seconds = wait_seconds
        self._vectors: OrderedDict[str, Any] = OrderedDict()  # futures of the vectors sent last, by their digest

    @property
    def n_workers(self) -> int:
        """Threads of all workers that are there now; waits for the first worker."""
        threads = self.client.nthreads()
        if not threads:
            try:
                self.client.wait_for_workers(1, timeout=self._wait_seconds)
            except TimeoutError:
                address = self.client.scheduler.address
                raise ExecutionError(
                    f"the scheduler at {address} has had no worker for {self._wait_seconds:g} s; "
                    f"start one (dask worker {address})"
                ) from None
            threads = self.client.nthreads()
        return sum(threads.values())

    def map(self, function: Callable[..., Out], items: Iterable[Item], *shared: object) -> Iterator[Out]:
        """Results in the order of the items, fetched in batches."""
        call = uuid.uuid4().hex
        batch = 4 * self.n_workers
        small = tuple(takewhile(lambda value: not isinstance(value, np.ndarray), shared))
        vectors = shared[len(small) :]
        common = self.client.submit(_identity, small, key=f"blockdot-shared-{call}", pure=False)
        sent = [self._send(vector, f"{call}-{i}") for i, vector in enumerate(vectors)]
        futures = [
            self.client.submit(
                _call, function, item, common, *sent, key=f"blockdot-{function.__name__}-{call}-{i}", pure=False
            )
            for i, item in enumerate(items)
        ]
        try:
            for start in range(0, len(futures), batch):
                yield from self._gather(futures[start : start + batch])
                futures[start : start + batch] = [None] * len(futures[start : start + batch])
        finally:
            self.client.cancel([future for future in futures if future is not None] + [common])

    def everywhere(self, function: Callable[[], Out]) -> dict[str, Out]:
        """``function()`` in each worker process, by its address."""
        answers: dict[str, Any] = self.client.run(function, on_error="return")
        for answer in answers.values():
            if isinstance(answer, Exception) and not isinstance(answer, OSError):  # OSError: a worker that has gone
                raise answer
        return {name: answer for name, answer in answers.items() if not isinstance(answer, Exception)}

    def _send(self, vector: Any, name: str) -> Any:
        """The future of ``vector``: the one that was sent before, if it is still there."""
        digest = f"{vector.dtype}{vector.shape}{xxhash.xxh3_128_hexdigest(np.ascontiguousarray(vector).data)}"
        future = self._vectors.pop(digest, None)
        if future is None or future.status in ("error", "cancelled", "lost"):
            future = self.client.submit(_identity, vector, key=f"blockdot-vector-{name}", pure=False)
        self._vectors[digest] = future
        while len(self._vectors) > _VECTORS:
            self._vectors.popitem(last=False)
        return future

    def _gather(self, futures: Sequence[Any]) -> list[Any]:
        try:
            return list(self.client.gather(list(futures)))
        except KilledWorker as error:
            raise ExecutionError(
                f"a task killed every worker that tried it ({error}); look at the workers' memory limit and logs"
            ) from error


def _identity(value: object) -> object:
    return value


def _call(function: Callable[..., Out], item: Item, small: tuple[object, ...], *vectors: object) -> Out:
    return function(item, *small, *vectors)
