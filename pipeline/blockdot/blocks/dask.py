"""Work on a Dask cluster: the same verb as threads, over the workers of a running scheduler.

Only this process submits. The arguments that all calls share travel once, through one identity task that the others
depend on: of the ways to send a vector it is the cheap one that survives the loss of the worker that holds it. Every
call has keys of its own, and no task needs what an earlier one left behind, so a lost worker costs a repetition only.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from distributed import Client, KilledWorker

from blockdot.errors import ExecutionError

Item = TypeVar("Item")
Out = TypeVar("Out")


class DaskPool:
    """The workers of the cluster that ``client`` is connected to."""

    shares_memory = False

    def __init__(self, client: Client, wait_seconds: float = 60.0) -> None:
        self.client = client
        self._wait_seconds = wait_seconds

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
        common = self.client.submit(_identity, shared, key=f"blockdot-shared-{call}", pure=False)
        batch = 4 * self.n_workers
        futures = [
            self.client.submit(
                _call, function, item, common, key=f"blockdot-{function.__name__}-{call}-{i}", pure=False
            )
            for i, item in enumerate(items)
        ]
        try:
            for start in range(0, len(futures), batch):
                yield from self._gather(futures[start : start + batch])
                futures[start : start + batch] = [None] * len(futures[start : start + batch])
        finally:
            self.client.cancel([future for future in futures if future is not None])
            self.client.cancel([common])

    def _gather(self, futures: Sequence[Any]) -> list[Any]:
        try:
            return list(self.client.gather(list(futures)))
        except KilledWorker as error:
            raise ExecutionError(
                f"a task killed every worker that tried it ({error}); look at the workers' memory limit and logs"
            ) from error


def _identity(shared: tuple[object, ...]) -> tuple[object, ...]:
    return shared


def _call(function: Callable[..., Out], item: Item, shared: tuple[object, ...]) -> Out:
    return function(item, *shared)
