"""Which knobs matter: layout, blocks, tiles, preconditioner. ``python -m benchmarks.knobs [ROWS]`` prints the tables.

Times are the best of some repetitions in one run on two threads; products are counted, not timed.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import scipy.sparse as sp

import blockdot as bd
from benchmarks.clicklog import clicklog
from blockdot.blocks import numbering
from blockdot.blocks.block import Block
from blockdot.objective import objective as objectives
from blockdot.solvers import minimize
from blockdot.solvers.newton_cg import NewtonCGState

GAPS = (1e-2, 1e-4, 1e-6)


def main(rows: int) -> None:
    """Print all tables for the click log with so many rows."""
    X, y = clicklog(rows)
    table("layout", {"all sparse, values kept": all_sparse(X, y), "mostly full columns dense": dataset(X, y)})
    table("blocks", {f"{n} blocks": dataset(X, y, n) for n in (2, 4, 8, 16, 32, 64, 128)})
    data = dataset(X, y)
    print("\n## rows of a tile: ms of a Hessian product")
    for tile in (1024, 4096, 8192, 16_384, 32_768, 131_072):
        with tiles_of(tile):
            print(f"{tile:28,}  {product_ms(data):6.1f}")
    preconditioners(data)


def dataset(X: object, y: object, n_blocks: int = 16) -> bd.Dataset:
    """The rows in so many blocks."""
    return bd.Dataset.from_arrays(X, y, block_rows=-(-X.shape[0] // n_blocks))  # type: ignore[attr-defined]


def all_sparse(X: object, y: object) -> bd.Dataset:
    """The rows without dense columns, so that their values are kept."""
    before, numbering._ROWS_FOR_DENSE = numbering._ROWS_FOR_DENSE, sys.maxsize
    try:
        return dataset(X, y)
    finally:
        numbering._ROWS_FOR_DENSE = before


@contextmanager
def tiles_of(rows: int) -> Iterator[None]:
    """Tiles of so many rows."""
    before, Block.tiles.__defaults__ = Block.tiles.__defaults__, (rows,)
    try:
        yield
    finally:
        Block.tiles.__defaults__ = before


def problem(data: bd.Dataset) -> bd.Objective:
    """L2 logistic regression with α = 1/n on two threads."""
    return bd.Objective(bd.Logistic(), bd.Linear(), bd.L2(1 / data.n_rows), bd.Blocks(data.source, bd.ThreadPool(2)))


def best_ms(call: Callable[[], object], times: int = 9) -> float:
    """The shortest of some calls, in ms; the first, which warms up, is not counted."""
    call()
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return 1e3 * min(taken)


def product_ms(data: bd.Dataset) -> float:
    """One Hessian product."""
    F = problem(data)
    w = np.random.default_rng(0).normal(size=F.size)
    return best_ms(lambda: F.hess_vec(w, w))


def table(name: str, choices: dict[str, bd.Dataset]) -> None:
    """Passes over the data, for each choice."""
    print(f"\n## {name}: ms of a value and gradient, of a Hessian product; non-zeros per ns of the product")
    for label, data in choices.items():
        F = problem(data)
        w = np.random.default_rng(0).normal(size=F.size)
        gradient, product = best_ms(lambda: F.value_and_grad(w)), best_ms(lambda: F.hess_vec(w, w))  # noqa: B023
        print(f"{label:28s}  {gradient:6.1f} {product:6.1f} {data.nnz / product / 1e6:6.2f}")


def preconditioners(data: bd.Dataset) -> None:
    """Passes to a relative gap, for each way to precondition."""
    F = problem(data)
    best = minimize(F, bd.NewtonCG(), F.zeros(), tol=1e-11).value
    print("\n## passes over the data to a relative gap of", *GAPS)
    choices: dict[str, tuple[bd.NewtonCG, int]] = {"diagonal": (bd.NewtonCG(head=0), 16_384)}
    choices |= {f"head {m:,}": (bd.NewtonCG(head=m), 16_384) for m in (256, 512, 1024, 2048)}
    choices |= {f"head 1,024, {n:,} rows": (bd.NewtonCG(), n) for n in (4096, 8192, 32_768, 65_536)}
    choices |= {f"patience {n}": (bd.NewtonCG(patience=n), 16_384) for n in (1, 3, 6, 12)}
    choices |= {f"forcing {eta}": (bd.NewtonCG(forcing=eta), 16_384) for eta in (0.5, 0.2, 0.1, 0.03)}
    for label, (solver, rows) in choices.items():
        objectives._ROWS_A_FEATURE = rows // max(solver.head, 1)
        print(f"{label:28s}", *(f"{n:6}" for n in passes_to_gap(data, solver, problem(data).zeros(), best)))
    objectives._ROWS_A_FEATURE = 16
    for share in (32, 8):
        part = problem(data).sample(data.n_rows // share)
        start = minimize(part, bd.NewtonCG(), part.zeros(), tol=1e-2).w
        found = passes_to_gap(data, bd.NewtonCG(), start, best)
        print(f"{f'start from 1/{share} of the rows':28s}", *(f"{n:6}" for n in found))


def passes_to_gap(data: bd.Dataset, solver: bd.NewtonCG, start: np.ndarray, best: float) -> list[int | str]:
    """Passes until each of the gaps."""
    trace: list[tuple[int, float]] = []

    def note(state: NewtonCGState) -> None:
        trace.append((state.evaluations, state.value / best - 1.0))

    minimize(problem(data), solver, start, tol=1e-7, max_iter=60, callbacks=[note])
    return [next((passes for passes, gap in trace if gap <= goal), "-") for goal in GAPS]


def l1_paths(rows: int = 200_000) -> None:
    """L1 logistic regression, α = 2/n, down paths of penalties by several factors."""
    from blockdot.models import continuation
    from blockdot.models.fit import fit
    from blockdot.models.recipe import Recipe

    X, y = clicklog(rows)
    data, before = bd.Dataset.from_arrays(X, y), continuation._WEAKER
    recipe = Recipe("logistic", alpha=2 / rows, l1_ratio=1.0, tol=1e-5, max_iter=200)
    print("\n## L1, each penalty weaker by a factor of: passes, s")
    for factor in (3.0, 10.0, 100.0, math.inf):
        continuation._WEAKER = factor
        passes = fit(data, recipe, bd.ThreadPool())[1].evaluations
        seconds = best_ms(lambda: fit(data, recipe, bd.ThreadPool()), 2) / 1e3
        print(f"{factor:<8g} {passes:5} {seconds:6.2f}", flush=True)
    continuation._WEAKER = before


def label_starts(rows: int = 20_000, features: int = 3000) -> None:
    """Labels that each so many rows have: passes from w = 0, and from the log odds."""
    from dataclasses import replace

    from blockdot.models.fit import fit
    from blockdot.models.recipe import Recipe

    rng = np.random.default_rng(0)
    X = sp.random_array((rows, features), density=0.01, rng=rng, format="csr")
    X.data[:] = 1.0
    print("\n## labels, share of the rows, alpha: passes from 0, from the log odds")
    for labels, share in ((5, 0.3), (20, 0.02), (50, 0.003)):
        z = X @ rng.normal(0.0, 0.7, (features, labels))
        odds = 3.0 * (z - np.quantile(z, 1.0 - share, axis=0))
        data = bd.Dataset.from_arrays(X, rng.random(z.shape) < 1.0 / (1.0 + np.exp(-odds)))
        for alpha in (1.0 / rows, 1e-3):
            recipe = Recipe("logistic", alpha=alpha, max_iter=1000)
            model, result = fit(data, recipe, bd.ThreadPool())
            zero = replace(model, coef=0.0 * model.coef, tail=0.0 * model.tail)
            from_zero = fit(data, recipe, bd.ThreadPool(), start=zero)[1].evaluations
            print(f"{labels:4} {share:6g} {alpha:8g} {from_zero:5} {result.evaluations:5}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["l1"]:
        sys.exit(l1_paths())
    if sys.argv[1:] == ["labels"]:
        sys.exit(label_starts())
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
