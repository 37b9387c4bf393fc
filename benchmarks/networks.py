"""Networks beside scikit-learn's: ``python -m benchmarks --only networks``.

20 newsgroups (bydate train, words hashed to 2¹⁸ columns, tf-idf), 9,000 rows to learn from, the others to judge by; one
hidden layer of 64 rectifiers, Adam, batches of 200, two threads. For each number of epochs a process of its own says
the seconds of the fit, the share of the other rows that it tells right, and the peak of its resident memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

import blockdot as bd
from benchmarks.memory import ROOT, status
from benchmarks.rows import load

LEARNT, UNITS, BATCH = 9_000, 64, 200


def _estimator(system: str, epochs: int) -> Any:
    if system == "blockdot":
        return bd.MLPClassifier(hidden_layer_sizes=(UNITS,), max_iter=epochs, batch_size=BATCH, alpha=0.0)
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier((UNITS,), max_iter=epochs, batch_size=BATCH, alpha=0.0, random_state=0)


def _one(system: str, epochs: int) -> dict[str, Any]:
    rows = load("20news")
    order = np.random.default_rng(0).permutation(len(rows.y))
    first, rest = order[:LEARNT], order[LEARNT:]
    few = first[:200]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _estimator(system, 1).fit(rows.X[few], rows.y[few])  # compiles
        before, began = status("VmRSS"), time.perf_counter()
        estimator = _estimator(system, epochs).fit(rows.X[first], rows.y[first])
    seconds = time.perf_counter() - began
    right = float(np.mean(estimator.predict(rows.X[rest]) == rows.y[rest]))
    return {"system": system, "epochs": epochs, "seconds": round(seconds, 2), "right": round(right, 4),
            "peak": status("VmHWM"), "before": before}  # fmt: skip


def measure(epochs: Sequence[int] = (2, 3, 5, 10)) -> dict[str, Any]:
    """A run of each system for each number of epochs."""
    runs = []
    for number in epochs:
        for system in ("blockdot", "scikit-learn"):
            command = [sys.executable, "-m", "benchmarks.networks", system, str(number)]
            done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
            runs.append(json.loads(done.stdout.splitlines()[-1]))
            print(f"networks {runs[-1]}", flush=True)
    return {"runs": runs}


if __name__ == "__main__":
    print(json.dumps(_one(sys.argv[1], int(sys.argv[2]))))
