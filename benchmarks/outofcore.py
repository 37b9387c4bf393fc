"""A store larger than the memory that a process may use: ``python -m benchmarks --only out-of-core``.

Of another size: ``python -m benchmarks.outofcore [GIGABYTES [LIMIT_MIB]]``.

Writes a store of so many gigabytes (random features, float32 values), fits it in a process of its own without a limit
and within the limit, and prints for both the peak of the resident memory, mapped pages included, the seconds of a pass
over the data once the page cache holds what it can, and whether the models have the same bits.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

import blockdot as bd
from benchmarks.memory import ROOT, status
from blockdot.blocks.store import new_store, write_block
from blockdot.models.fit import fit
from blockdot.models.recipe import Recipe

ROWS, A_ROW, FEATURES = 100_000, 80, 500_000
RECIPE = Recipe("logistic", alpha=1e-6, max_iter=8, solver="lbfgs")


def write(path: Path, gigabytes: float) -> int:
    """Write the store; its size in bytes."""
    rng, written, size = np.random.default_rng(0), [], 0
    stride = FEATURES // A_ROW
    w = rng.normal(size=FEATURES)
    with new_store(path) as writer:
        while size < gigabytes * 1e9:
            # the more frequent ones first within each of the groups of features that a row has one of
            columns = (stride * rng.random((ROWS, A_ROW)) ** 3).astype(np.int64) + np.arange(A_ROW) * stride
            values = rng.normal(size=ROWS * A_ROW).astype(np.float32)
            X = sp.csr_array((values, columns.ravel(), np.arange(0, ROWS * A_ROW + 1, A_ROW)), shape=(ROWS, FEATURES))
            y = (X @ w + 5.0 * rng.logistic(size=ROWS) > 0).astype(float)
            block = bd.Dataset.from_arrays(X, y, block_rows=ROWS).source.block(0)
            written.append(write_block(block, writer.directory, f"block-{len(written)}"))
            size += written[-1].entry.size
        writer.commit(written, n_features=FEATURES)
    return size


def _fit(path: str, limit: int | None) -> dict[str, Any]:
    pool = bd.ThreadPool(2, limit)
    times: list[float] = []
    data = bd.Dataset.open(path)
    began = time.perf_counter()
    model, result = fit(data, RECIPE, pool, callbacks=[lambda _: times.append(time.perf_counter())])
    bits = hashlib.sha256(model.coef.tobytes() + model.tail.tobytes()).hexdigest()
    passes = (result.evaluations - 1) / max(result.iterations, 1)
    typical = float(np.median(np.diff(times))) / max(passes, 1.0)
    return {"peak": status("VmHWM"), "seconds": times[-1] - began, "pass": typical, "bits": bits}


def measure(gigabytes: float = 6.0, limit: int = 1 << 30) -> dict[str, Any]:
    """The store's size, and what a fit of it takes without and within ``limit`` bytes."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        path = Path(directory) / "store"
        size = write(path, gigabytes)
        found = {}
        for name, allowed in (("free", None), ("limited", limit), ("free again", None)):
            command = [sys.executable, "-m", "benchmarks.outofcore", "--fit", str(path), json.dumps(allowed)]
            done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
            found[name] = json.loads(done.stdout.splitlines()[-1])
            print(name, found[name], flush=True)
    same = len({run["bits"] for run in found.values()}) == 1
    slower = found["limited"]["pass"] / found["free again"]["pass"]
    return {"store": size, "limit": limit, "same bits": same, "pass, limited / free": slower, **found}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fit"]:
        print(json.dumps(_fit(sys.argv[2], json.loads(sys.argv[3]))))
    else:
        wanted = float(sys.argv[1]) if len(sys.argv) > 1 else 6.0
        print(json.dumps(measure(wanted, (int(sys.argv[2]) if len(sys.argv) > 2 else 1024) << 20), indent=1))
