"""Work on this machine: the threads of one process.

The compiled products and NumPy's loops release the GIL, so threads use the cores without copying anything. A pass of
less than about 0.1 s a worker is faster here than on worker processes (docs/design.md).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from itertools import islice
from numbers import Integral
from typing import TypeVar

from blockdot.blocks.pages import pages
from blockdot.errors import SpecError

Item = TypeVar("Item")
Out = TypeVar("Out")
_END = object()
# They even out unequal blocks; each of them leaves a sum to the driver.
CALLS_A_THREAD = 2


class ThreadPool:
    """``n_threads`` threads of this process (default: the cores that this process may use).

    ``memory_limit``: bytes that this process should keep to (see pages.py); None for no limit.
    """

    shares_memory = True

    def __init__(self, n_threads: int | None = None, memory_limit: int | None = None) -> None:
        if n_threads is not None and not (isinstance(n_threads, Integral) and n_threads >= 1):
            raise SpecError(f"n_threads is {n_threads!r}; a whole number of at least 1 is needed")
        if memory_limit is not None:
            pages.allow(memory_limit)
        self.n_workers = n_threads or len(os.sched_getaffinity(0))
        self.n_calls = CALLS_A_THREAD * self.n_workers
        self._executor = ThreadPoolExecutor(self.n_workers, thread_name_prefix="blockdot")

    def map(self, function: Callable[..., Out], items: Iterable[Item], *shared: object) -> Iterator[Out]:
        """Results in the order of the items; a few calls run ahead, so memory does not grow with their number.

        The calls see the caller's context: what NumPy is to say of an overflow, among other things.
        """
        remaining = iter(items)
        ahead: deque[Future[Out]] = deque()

        def submit(most: int) -> None:
            for item in islice(remaining, most):
                ahead.append(self._executor.submit(copy_context().run, function, item, *shared))

        try:
            submit(2 * self.n_workers)
            while ahead:
                result = ahead.popleft().result()
                submit(1)
                yield result
        finally:
            for future in ahead:
                future.cancel()

    def everywhere(self, function: Callable[[], Out]) -> dict[str, Out]:  # noqa: ARG002
        """Nothing: the threads are of this process."""
        return {}

    def require(self, question: Callable[[], Out], judge: Callable[[str, Out], None]) -> None:
        """Nothing: the threads are of this process."""


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The items in order, the next of them made by another thread while the last one is worked with."""
    with ThreadPoolExecutor(1, thread_name_prefix="blockdot-ahead") as other:
        following = other.submit(next, items, _END)
        while (item := following.result()) is not _END:
            following = other.submit(next, items, _END)
            yield item  # type: ignore[misc]
