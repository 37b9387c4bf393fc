"""Memory: what a fit from a memory-mapped block store holds.

The pages of the store are counted in the resident memory while the page cache keeps them, and the system may drop them
at any time; the anonymous memory is what the process needs for itself. A fit of a few rows is made first, so that what
the libraries and their compiled code hold is known apart.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import blockdot as bd
from benchmarks.cases import load

SAMPLED_EVERY = 0.002
ROOT = Path(__file__).parents[1]


def measure(case: str, tol: float = 1e-4) -> dict[str, Any]:
    """Write the store of ``case`` and fit it in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        store, few = Path(directory) / "store", Path(directory) / "few"
        rows = load(case)
        dataset = bd.Dataset.from_arrays(rows.X, rows.y).save(store)
        small = rows.few()
        bd.Dataset.from_arrays(small.X, small.y).save(few)
        size = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
        command = [sys.executable, "-m", "benchmarks.memory", str(store), str(few), repr(rows.alpha), repr(tol)]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    held = json.loads(done.stdout.splitlines()[-1])
    result = {"case": case, "tol": tol, "store": size, "vector": 8 * (len(dataset.table) + 1), **held}
    print(f"memory {result}", flush=True)
    return result


def status(name: str) -> int:
    """Bytes of a line of this process's status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


class Sampler(threading.Thread):
    """Keeps the largest anonymous memory seen."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            self.peak = max(self.peak, status("RssAnon"))
            time.sleep(SAMPLED_EVERY)


def _fit(store: str, few: str, alpha: float, tol: float) -> dict[str, Any]:
    warnings.simplefilter("ignore")
    bd.LogisticRegression(alpha=alpha, tol=tol, max_iter=1000).fit(bd.Dataset.open(few))
    before = status("RssAnon")
    sampler = Sampler()
    sampler.start()
    est = bd.LogisticRegression(alpha=alpha, tol=tol, max_iter=1000).fit(bd.Dataset.open(store))
    sampler.over.set()
    sampler.join()
    held = {"before": before, "anonymous": sampler.peak, "resident": status("VmHWM")}
    return {**held, "iterations": int(est.n_iter_)}


if __name__ == "__main__":
    print(json.dumps(_fit(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))))
