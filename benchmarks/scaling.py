"""Scaling: seconds of a pass over click logs of several sizes, on threads and on worker processes of a Dask cluster.

Both read the same block store, so they do the same work. The fixed cost of a pass is where a line through the sizes,
fitted to relative errors, meets zero non-zeros.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from distributed import Client, LocalCluster

import blockdot as bd
from benchmarks.cases import load
from benchmarks.roofline import typical

CASES = ("clicklog-10k", "clicklog-100k", "clicklog-1m")
WORKERS = (1, 2)


def measure(cases: Sequence[str] = CASES, workers: Sequence[int] = WORKERS) -> dict[str, Any]:
    """The passes of each size on each pool, and the fixed cost of each pass."""
    passes: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        stores = {case: _stored(case, Path(directory)) for case in cases}
        for kind in ("threads", "Dask processes"):
            for count in workers:
                with _pool(kind, count) as pool:
                    for case, dataset in stores.items():
                        for row in _passes(dataset, pool):
                            passes.append({"case": case, "pool": kind, "workers": count, "nnz": dataset.nnz, **row})
                            print(f"scaling {passes[-1]}", flush=True)
    return {"passes": passes, "fixed": _fixed_costs(passes), "wide": wide()}


def wide(rows: int = 2_000_000, fields: int = 40, levels: int = 25_000) -> list[dict[str, Any]]:
    """Passes over a wide store, 40 M non-zeros for each of two workers and 1 M features that occur, on both pools.

    Each of the fields has so many levels, the j-th as often as 1/j; all values are 1.
    """
    rng = np.random.default_rng(0)
    level = np.minimum(levels ** rng.random((rows, fields)) - 1, levels - 1).astype(np.int32)
    slots = (level + np.arange(fields, dtype=np.int32) * levels).ravel()
    ends = np.arange(0, rows * fields + 1, fields)
    X = sp.csr_matrix((np.ones(len(slots), np.float32), slots, ends), shape=(rows, fields * levels))
    y = (rng.random(rows) < 0.3).astype(np.float32)
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        dataset = bd.Dataset.from_arrays(X, y).save(Path(directory) / "wide")
        del X, slots, level
        for kind in ("threads", "Dask processes"):
            with _pool(kind, 2) as pool:
                for row in _passes(dataset, pool):
                    found.append({"pool": kind, "nnz": dataset.nnz, "features": len(dataset.table), **row})
                    print(f"wide {found[-1]}", flush=True)
    return found


def _stored(case: str, directory: Path) -> bd.Dataset:
    rows = load(case)
    return bd.Dataset.from_arrays(rows.X, rows.y).save(directory / case)


@contextmanager
def _pool(kind: str, count: int) -> Iterator[Any]:
    if kind == "threads":
        yield bd.ThreadPool(count)
        return
    with (
        LocalCluster(n_workers=count, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(count)
        yield bd.DaskPool(client)


def _passes(dataset: bd.Dataset, pool: Any) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    repeats = int(np.clip(4e7 / dataset.nnz, 5, 20))
    with dataset.on(pool) as blocks:
        objective = bd.Objective(bd.Logistic(), bd.Linear(), bd.L2(1.0 / dataset.n_rows), blocks)
        w, v = 0.01 * rng.normal(size=(2, objective.size))
        return [
            {"pass": "value and gradient", "seconds": typical(lambda: objective.value_and_grad(w), repeats)},
            {"pass": "hessian product", "seconds": typical(lambda: objective.hess_vec(w, v), repeats)},
        ]


def _fixed_costs(passes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for row in passes:
        groups.setdefault((row["pool"], row["workers"], row["pass"]), []).append(row)
    return [
        {"pool": pool, "workers": workers, "pass": name, "seconds": _intercept(rows)}
        for (pool, workers, name), rows in groups.items()
        if len(rows) > 1
    ]


def _intercept(rows: list[dict[str, Any]]) -> float:
    seconds = np.array([row["seconds"] for row in rows])
    line = np.stack([np.ones(len(rows)), [row["nnz"] for row in rows]], axis=1)
    fitted, *_ = np.linalg.lstsq(line / seconds[:, None], np.ones(len(rows)), rcond=None)
    return float(fitted[0])


if __name__ == "__main__":
    measure()
