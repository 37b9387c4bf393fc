"""Roofline: how fast the passes read their blocks, against two ceilings.

    memory      the bytes that come from it, over the bandwidth of this machine: of a Hessian product those of the
                matrices once (products.add_normal), of a value and gradient twice, for X w and for Xᵀ u
    cores       the speed of the same Hessian product on rows that stay in the second-level cache

Where the bytes over the time are near the bandwidth, memory binds; where the speed is near that in the cache, loads,
stores and arithmetic do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import fields, is_dataclass
from itertools import cycle
from typing import Any

import numba
import numpy as np
import scipy.sparse as sp

import blockdot as bd
from benchmarks.cases import load

GIB = 1 << 30
MEMORY_BINDS = 0.7  # of the bandwidth: above it, a faster kernel would not help


@numba.njit(nogil=True, fastmath=True)
def _total(numbers):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(len(numbers)):
        total += numbers[i]
    return total


def bandwidth(threads: int, size: int = GIB, repeats: int = 7) -> float:
    """The bytes a second that ``threads`` threads read, the best of several sums over ``size`` bytes."""
    numbers = np.ones(size // 8)
    parts = np.array_split(numbers, threads)
    _total(numbers[:100])
    times = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(repeats):
            start = time.perf_counter()
            list(pool.map(_total, parts))
            times.append(time.perf_counter() - start)
    return size / min(times)


def matrix_bytes(block: Any) -> int:
    """The bytes of all arrays of a block's matrix, however it is laid out; an array found twice counts once."""
    return sum({id(array): array.nbytes for array in _arrays(block.X)}.values())


def _arrays(thing: Any) -> list[np.ndarray]:
    if isinstance(thing, np.ndarray):
        return [thing]
    if is_dataclass(thing):
        return [array for field in fields(thing) for array in _arrays(getattr(thing, field.name))]
    if isinstance(thing, (list, tuple)):
        return [array for part in thing for array in _arrays(part)]
    return []


def measure(case: str, thread_counts: tuple[int, ...] = (1, 2), repeats: int = 100) -> dict[str, Any]:
    """Bandwidth, Hessian products, and passes for value and gradient, on a click log with and without its values."""
    result: dict[str, Any] = {"case": case, "bandwidth": {str(t): bandwidth(t) for t in thread_counts}, "passes": []}
    rows = load(case)
    ones = sp.csr_matrix((np.ones_like(rows.X.data), rows.X.indices, rows.X.indptr), shape=rows.X.shape)
    for values, X in (("float32", rows.X), ("absent", ones)):
        dataset = bd.Dataset.from_arrays(X, rows.y)
        cached = {threads: in_cache(dataset, threads) for threads in thread_counts}
        for row in _passes(dataset, rows.one.alpha, thread_counts, repeats):
            result["passes"].append({"values": values, "cached_nnz_per_ns": cached[row["threads"]], **row})
            print(f"roofline {result['passes'][-1]}", flush=True)
    return result


def in_cache(dataset: bd.Dataset, threads: int, size: int = 1 << 19, repeats: int = 31) -> float:
    """Non-zeros a ns of Hessian products, each thread's on rows of its own, of so many bytes."""
    block = dataset.source.block(0)
    n_rows = max(size * block.n_rows // block.X.nbytes, 1)
    X = block.X.rows(0, n_rows)
    rng, times = np.random.default_rng(0), 20
    v, c = rng.normal(size=X.n_columns), rng.random(X.n_rows)
    copies = [X.take(np.arange(n_rows)) for _ in range(threads)]
    sums = [np.zeros(X.n_columns) for _ in range(threads)]

    def work(i: int) -> None:
        for _ in range(times):
            copies[i].add_normal(v, 0.0, c, sums[i])

    with ThreadPoolExecutor(threads) as pool:
        seconds = typical(lambda: list(pool.map(work, range(threads))), repeats)
    return threads * times * X.nnz / seconds / 1e9


def _passes(dataset: bd.Dataset, alpha: float, counts: Sequence[int], repeats: int) -> Iterator[dict[str, Any]]:
    """A row for each number of threads and each pass."""
    rng = np.random.default_rng(0)
    with ExitStack() as stack:
        views = [stack.enter_context(dataset.on(bd.ThreadPool(count))) for count in counts]
        size = sum(matrix_bytes(block) for block in views[0].take(range(views[0].n_blocks)))
        objectives = [bd.Objective(bd.Logistic(), bd.Linear(), bd.L2(alpha), blocks) for blocks in views]
        w = 0.01 * rng.normal(size=objectives[0].size)
        directions = cycle(rng.normal(size=(4, len(w))))
        timed = {
            "hessian product": in_turns([lambda F=F: F.hess_vec(w, next(directions)) for F in objectives], repeats),
            "value and gradient": in_turns([lambda F=F: F.value_and_grad(w) for F in objectives], repeats),
        }
    nnz = dataset.nnz
    for i, count in enumerate(counts):
        for name, seconds in timed.items():
            read = size if name == "hessian product" else 2 * size
            rate = {"seconds": seconds[i], "bytes": read, "nnz": nnz, "nnz_per_ns": nnz / seconds[i] / 1e9}
            yield {"threads": count, "pass": name, **rate}


def typical(call: Callable[[], object], repeats: int) -> float:
    """The median seconds of a call, after one that warms the caches."""
    return in_turns([call], repeats)[0]


def in_turns(calls: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """The same of several calls that alternate: what a neighbour of this machine takes, it takes from each of them."""
    times = np.empty((1 + repeats, len(calls)))
    for row in times:
        for i, call in enumerate(calls):
            start = time.perf_counter()
            call()
            row[i] = time.perf_counter() - start
    return [float(seconds) for seconds in np.median(times[1:], axis=0)]
