"""The matrix: memory of a decomposition of data that are larger than it, and what sums in any order cost.

    python -m benchmarks.matrix svd [ROWS COLUMNS A_ROW]     write a store, decompose it in a process of its own
    python -m benchmarks.matrix reproducible [ROWS]          passes over the click log, plain and reproducible in turn

The peak is that of the resident memory (VmHWM): the pages of the mapped store are in it. The peak of the anonymous
memory is what the process needs for itself.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import blockdot as bd
from benchmarks.clicklog import clicklog
from benchmarks.memory import Sampler, status
from blockdot.blocks.block import Block
from blockdot.blocks.store import new_store, write_block

ROOT = Path(__file__).parents[1]
RANK, BLOCK_ROWS = 8, 62_500


def write(path: Path, rows: int, columns: int, a_row: int) -> bd.Dataset:
    """A store of ``rows`` with ``a_row`` entries each, float32: a matrix of rank 8 where there are entries, and noise.

    Each row has one entry in each of ``a_row`` ranges of columns that grow linearly, so frequencies follow a power law.
    """
    rng = np.random.default_rng(0)
    edges = np.unique(np.round(columns * (np.arange(a_row + 1) / a_row) ** 2).astype(np.int64))
    width = np.diff(edges)
    right = rng.normal(size=(columns, RANK)) * 0.7 ** np.arange(RANK)
    written = []
    with new_store(path) as writer:
        for start in range(0, rows, BLOCK_ROWS):
            n = min(BLOCK_ROWS, rows - start)
            ids = edges[:-1] + (rng.random((n, len(width))) * width).astype(np.int64)
            left = rng.normal(size=(n, RANK))
            values = rng.normal(size=ids.shape, scale=0.5)
            for q in range(RANK):
                values += left[:, q, np.newaxis] * right[ids, q]
            indptr = np.arange(n + 1) * len(width)
            block = Block.from_rows(indptr, ids.ravel(), values.ravel().astype(np.float32))
            written.append(write_block(block, writer.directory, f"block-{start:09d}"))
        writer.commit(written, n_features=columns)
    return bd.Dataset.open(path)


def decompose(store: str, k: int) -> dict[str, Any]:
    """In this process: both the peaks and the residual ‖Aᵀu − v s‖ of each singular value, relative to the first."""
    X = bd.Dataset.open(store).X
    sampler = Sampler()
    sampler.start()
    start = time.perf_counter()
    u, s, vt = X.svd(k)
    seconds = time.perf_counter() - start
    residual = np.linalg.norm(X.T @ u - vt.T * s, axis=0) / s[0]
    sampler.over.set()
    sampler.join()
    return {
        "k": k, "seconds": round(seconds, 1), "resident": status("VmHWM"), "anonymous": sampler.peak,
        "singular_values": s.tolist(), "largest_residual": float(residual.max()),
    }  # fmt: skip


def svd(rows: int = 1_000_000, columns: int = 100_000, a_row: int = 100, k: int = 20) -> dict[str, Any]:
    """Write the store and decompose it in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        store = Path(directory) / "store"
        data = write(store, rows, columns, a_row)
        size = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
        command = [sys.executable, "-m", "benchmarks.matrix", "decompose", str(store), str(k)]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return {"rows": data.n_rows, "occurring": len(data.table), "nnz": data.nnz, "store": size, **found}


def reproducible(rows: int = 200_000) -> list[dict[str, Any]]:
    """Median seconds of each product, plain and reproducible, alternated."""
    X = bd.Dataset.from_arrays(clicklog(rows)[0]).X.occurring()
    rng = np.random.default_rng(0)
    n, d = X.shape
    results = []
    for k in (1, 16):
        w, u = rng.normal(size=(d, k)), rng.normal(size=(n, k))
        for name, product in (("X W", lambda M, w=w: M @ w), ("Xᵀ U", lambda M, u=u: M.T @ u)):
            plain, exact = alternated(product, X, X.reproducible())
            results.append({"product": name, "columns": k, "plain": plain, "reproducible": exact,
                            "ratio": round(exact / plain, 2)})  # fmt: skip
    return results


def alternated(product: Callable[[Any], Any], *matrices: Any) -> list[float]:
    """Median seconds of the product of each, one after another, seven times."""
    seconds: list[list[float]] = [[] for _ in matrices]
    for turn in range(8):
        for matrix, times in zip(matrices, seconds, strict=True):
            start = time.perf_counter()
            product(matrix)
            if turn:
                times.append(time.perf_counter() - start)
    return [median(times) for times in seconds]


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["svd", *sizes]:
            print(json.dumps(svd(*map(int, sizes))))
        case ["decompose", store, k]:
            print(json.dumps(decompose(store, int(k))))
        case ["reproducible", *sizes]:
            for line in reproducible(*map(int, sizes)):
                print(json.dumps(line))
        case _:
            sys.exit(__doc__)
