"""What small data, several outputs and paths want. ``python -m benchmarks.choices [NAME …]`` prints the tables.

    cuts      blocks that arrays are cut into: the time of a fit          fresh     what a fresh array costs
    outputs   softmax regression: passes to a gap, by the forcing term    paths     where a path starts each minimum
    narrow    products with few columns, by a loop and by groups

Times are the best of some repetitions in one run on two threads; passes are counted.
"""

from __future__ import annotations

import mmap
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np

import blockdot as bd
from benchmarks import cases, ours
from benchmarks.knobs import best_ms
from blockdot import buffers
from blockdot.blocks import arrays, narrow_kernel, products
from blockdot.models import path as paths
from blockdot.models.folds import GivenFolds
from blockdot.models.recipe import Recipe

SMALL = (("a9a", "1e-3"), ("motor-poisson", "3e-4"), ("policies-163k-poisson", "3e-4"), ("20news-softmax", "3e-2"))
GAPS = (1e-1, 1e-2, 1e-4, 1e-6)


def cuts() -> None:
    """Blocks of arrays, for data that one pass is short over."""
    print("\n## ms of a fit with 1, 2, 4, 8, 16 blocks; * is the default")
    for name, tol in SMALL:
        case = cases.load(name)
        found = []
        default = bd.Dataset.from_arrays(case.X).n_blocks
        for blocks in (1, 2, 4, 8, 16):
            with mock.patch.object(arrays, "blocks_for", return_value=blocks):
                data = bd.Dataset.from_arrays(case.X, case.y, case.rows.weight)
            est = ours.estimator(case.one, tol=float(tol))
            ms = best_ms(lambda: est.fit(data))  # noqa: B023
            found.append(f"{ms:.4g}" + "*" * (data.n_blocks == default))
        print(f"{name:24s}", *found, flush=True)


def outputs() -> None:
    """The forcing term of Newton–CG where a loss couples outputs."""
    case = cases.load("20news-softmax")
    data = bd.Dataset.from_arrays(case.X, case.y)
    F = bd.Objective(
        bd.Softmax(20), bd.Linear(outputs=20), bd.L2(case.one.alpha), bd.Blocks(data.source, bd.ThreadPool())
    )
    best = bd.minimize(F, bd.NewtonCG(), F.zeros(), tol=1e-9, max_iter=60).value
    print("\n## 20 newsgroups, softmax: forcing, passes to a relative gap of", *GAPS)
    for forcing in (0.1, 0.2, 0.3, 0.4, 0.5):
        trace: list[tuple[int, float]] = []

        def note(state: object, trace: list[tuple[int, float]] = trace) -> None:
            trace.append((state.evaluations, state.value / best - 1.0))  # type: ignore[attr-defined]

        bd.minimize(F, bd.NewtonCG(forcing=forcing), F.zeros(), tol=1e-6, max_iter=60, callbacks=[note])
        found = [next((passes for passes, gap in trace if gap <= goal), "-") for goal in GAPS]
        print(f"{forcing:<8}", *found, flush=True)


def walks() -> None:
    """A path whose minima start at the last one, or where the last two point."""
    line = paths.ahead
    print("\n## path of 20 α and 5 folds: tol; from the last minimum, passes, s; on the line through the last two")
    for name in ("a9a-path", "clicklog-200k-path", "clicklog-200k-l1-path"):
        loaded = cases.load(name)
        case, data = loaded.path, ours.dataset(loaded.rows)
        test = case.fold[:, np.newaxis] == np.arange(case.n_folds)
        for tol in (1e-2, 3e-3):
            recipe = Recipe("logistic", l1_ratio=case.l1_ratio, tol=tol, max_iter=1000)
            found = []
            for start in (lambda points, _, __: points[-1], line):
                paths.ahead = start
                began = time.perf_counter()
                folds = GivenFolds(~test, test)
                _, cv = paths.fit_path(data, recipe, bd.ThreadPool(), paths.Grid(case.alphas), folds)
                seconds = time.perf_counter() - began
                found += [f"{sum(result.evaluations for result in cv.results)}", f"{seconds:.3g}"]
            print(f"{name:24s} {tol:g}", *found, flush=True)
    paths.ahead = line


def fresh() -> None:
    """Arrays of 16 MB that are filled: as they come from the system, or in memory that is used again."""
    n, shared, own = 2 << 20, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    ways: dict[str, Callable[[], np.ndarray[Any, Any]]] = {
        "NumPy's": lambda: np.empty(n),
        "mapped, shared": lambda: np.frombuffer(mmap.mmap(-1, 8 * n, flags=shared)),
        "mapped, the process's own": lambda: np.frombuffer(mmap.mmap(-1, 8 * n, flags=own)),
        "the same, pages at once": lambda: np.frombuffer(mmap.mmap(-1, 8 * n, flags=own | mmap.MAP_POPULATE)),
    }
    print("\n## ms to fill 16 MB, as long as the last ones are there")
    for name, array in ways.items():
        kept, times = [], []
        for _ in range(8):
            start = time.perf_counter()
            kept.append(array())
            kept[-1].fill(1.0)
            times.append(1e3 * (time.perf_counter() - start))
        print(f"{name:28s} {statistics.median(times):.3g}")
    buffers.zeros(n)
    print(f"{'used before':28s} {best_ms(lambda: buffers.zeros(n)):.3g}")


def narrow() -> None:
    """Products of sparse rows with K columns, by a loop over the columns and by groups of them."""
    case = cases.load("clicklog-200k")
    X = bd.Dataset.from_arrays(case.X, case.y, block_rows=12_500).source.block(0).X
    parts, nnz = (X.indptr, X.indices, X.values), len(X.indices)
    print("\n## ns a non-zero, one thread: K; X W by a loop over the columns, by groups; Xᵀ U by a loop, by groups")
    for columns in range(2, 8):
        draw = np.random.default_rng(0)
        w, u = draw.normal(size=(X.n_columns, columns)), draw.normal(size=(X.n_rows, columns))
        z, g = np.zeros_like(u), np.zeros_like(w)
        dots, tdots = (products.sparse_add_dot_columns, narrow_kernel.add_dot), (
            products.sparse_add_tdot_columns, narrow_kernel.add_tdot)  # fmt: skip
        ms = [best_ms(lambda: dot(*parts, w, z), 31) for dot in dots]  # noqa: B023
        ms += [best_ms(lambda: tdot(*parts, u, g, False), 31) for tdot in tdots]  # noqa: B023
        print(columns, *(f"{1e6 * each / nnz:.2f}" for each in ms), flush=True)


TABLES = {"cuts": cuts, "outputs": outputs, "paths": walks, "fresh": fresh, "narrow": narrow}

if __name__ == "__main__":
    for chosen in sys.argv[1:] or TABLES:
        TABLES[chosen]()
