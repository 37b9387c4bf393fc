"""Where a second thread's time goes: ``python -m benchmarks.threads [CASE]`` prints one table.

    kernels     X v and Xᵀ u of every tile, and nothing else, on lists of tiles that are dealt out beforehand
    loss        value and gradient of the case's loss (logistic or softmax), tile by tile
    pass        blocks.sum: the same kernels, with the vectors gathered, the sums folded, and the driver's share

The kernels release the GIL for a tile at a time, NumPy for a fraction of that, and each time a thread takes it again it
may have to wait until the other one lets go.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from typing import Any

import numpy as np

import blockdot as bd
from benchmarks.cases import Case, load
from benchmarks.roofline import in_turns

REPEATS = 31


def milliseconds(work: Callable[[Any], None], items: Sequence[Any], threads: int) -> float:
    """The median time of ``work`` on all items, dealt out to threads beforehand."""
    parts = np.array_split(np.arange(len(items)), threads)
    times = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(REPEATS):
            start = time.perf_counter()
            list(pool.map(lambda part: [work(items[i]) for i in part], parts))
            times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def kernels(item: Any) -> None:
    """Both products of a block's tiles."""
    tiles, v, g = item
    for tile in tiles:
        tile.X.add_tdot(tile.X.dot(v), g)


def loss(item: Any) -> None:
    """The loss of a block's tiles."""
    of, tiles, z = item
    for tile in tiles:
        of.value_and_grad(tile.y, z[: tile.n_rows], 1.0)


def _loss(case: Case) -> tuple[Any, int | None]:
    """The loss of a case as blockdot has it, and its outputs."""
    if case.one.loss.name == "logistic":
        return bd.Logistic(), None
    outputs = int(np.max(case.y)) + 1
    return bd.Softmax(outputs), outputs


def rows(case: str) -> Iterator[tuple[str, list[float]]]:
    """What was timed, and its milliseconds on one and on two threads."""
    data = load(case)
    of, outputs = _loss(data)
    dataset = bd.Dataset.from_arrays(data.X, data.y)
    rng, width = np.random.default_rng(0), () if outputs is None else (outputs,)
    with dataset.on(bd.ThreadPool(1)) as blocks:
        found = blocks.take(range(blocks.n_blocks))
    tiles = [list(block.tiles()) for block in found]
    columns = [
        (some, rng.normal(size=(len(block.columns), *width)), np.zeros((len(block.columns), *width)))
        for some, block in zip(tiles, found, strict=True)
    ]
    z = rng.normal(size=(max(tile.n_rows for some in tiles for tile in some), *width))
    items = [(of, some, z) for some in tiles]
    yield "kernels", [milliseconds(kernels, columns, t) for t in (1, 2)]
    yield "loss", [milliseconds(loss, items, t) for t in (1, 2)]
    predictor, penalty = bd.Linear(outputs=outputs), bd.L2(data.one.alpha)
    with dataset.on(bd.ThreadPool(1)) as one, dataset.on(bd.ThreadPool(2)) as two:
        both = [bd.Objective(of, predictor, penalty, blocks) for blocks in (one, two)]
        w, vs = 0.01 * rng.normal(size=both[0].size), cycle(rng.normal(size=(4, both[0].size)))
        products = in_turns([lambda F=F: F.hess_vec(w, next(vs)) for F in both], REPEATS)
        gradients = in_turns([lambda F=F: F.value_and_grad(w) for F in both], REPEATS)
    yield "pass: Hessian product", [1e3 * seconds for seconds in products]
    yield "pass: value and gradient", [1e3 * seconds for seconds in gradients]


if __name__ == "__main__":
    print("| ms | 1 thread | 2 threads | ratio |\n| --- | --- | --- | --- |")
    for name, (one, two) in rows(sys.argv[1] if len(sys.argv) > 1 else "clicklog-1m"):
        print(f"| {name} | {one:.1f} | {two:.1f} | {one / two:.2f} |")
