"""Fits, one after the other, on a cluster that is hurt at random: ``python tests/faults/soak.py [MINUTES [SEED]]``.

Every few seconds a worker is killed (SIGKILL), frozen for a while (SIGSTOP), asked to leave (SIGTERM), or a new one
joins; now and then the scheduler is killed and started again with its workers. Every model must have the bits of the
one that threads fit. Prints what happened as JSON; exit code 1 for a wrong bit or a lost result.
"""

import json
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from itertools import cycle
from pathlib import Path

import numpy as np
from dask_processes import Processes
from distributed import Client
from model_bits import digest

import blockdot as bd
from blockdot.blocks.dask import DaskPool
from blockdot.models.fit import fit
from blockdot.models.recipe import Recipe

RECIPES = [Recipe("logistic", alpha=1e-3, tol=1e-9, solver=name) for name in ("lbfgs", "newton-cg", "newton-cholesky")]
RECIPES.append(Recipe("logistic", alpha=1e-3, l1_ratio=1.0, tol=1e-7, solver="proximal-newton"))
LEAST, MOST = 1, 4


def rows(folder):
    """A store of 32 blocks."""
    rng = np.random.default_rng(3)
    n, d = 64_000, 800
    X = rng.normal(size=(n, d)) * (rng.random((n, d)) < 0.03)
    y = (X[:, :50] @ rng.normal(size=50) + rng.logistic(size=n) > 0).astype(float)
    return bd.Dataset.from_arrays(X, y, block_rows=2000).save(folder / "rows.blocks")


class Counted(DaskPool):
    """Counts passes, and how long each of them took."""

    def __init__(self, client):
        super().__init__(client, wait_seconds=120)
        self.passes, self.longest = 0, 0.0

    def map(self, function, items, *shared):
        began = time.monotonic()
        yield from super().map(function, items, *shared)
        self.passes += 1
        self.longest = max(self.longest, time.monotonic() - began)


class Faults(threading.Thread):
    """Hurts the cluster until it is told to stop."""

    def __init__(self, processes, seed):
        super().__init__(daemon=True)
        self.processes, self.random = processes, random.Random(seed)
        self.over, self.counts, self.frozen = threading.Event(), Counter(), []

    def run(self):
        while not self.over.wait(self.random.uniform(1.0, 5.0)):
            self.thaw()
            alive = [w for w in self.processes.workers if w.poll() is None]
            names = ["kill", "freeze", "leave"] * (len(alive) > LEAST) + ["join"] * 2 * (len(alive) < MOST)
            name = "scheduler" if self.random.random() < 0.05 else self.random.choice(names)
            getattr(self, f"do_{name}")(alive)
            self.counts[name] += 1

    def do_kill(self, alive):
        self.processes.end(self.random.choice(alive))

    def do_freeze(self, alive):
        worker = self.random.choice(alive)
        worker.send_signal(signal.SIGSTOP)
        self.frozen.append((worker, time.monotonic() + self.random.uniform(2.0, 20.0)))

    def thaw(self):
        for worker, _ in [item for item in self.frozen if item[1] < time.monotonic()]:
            worker.send_signal(signal.SIGCONT)
        self.frozen = [item for item in self.frozen if item[1] >= time.monotonic()]

    def do_leave(self, alive):
        self.random.choice(alive).terminate()

    def do_join(self, alive):
        self.processes.start_worker()

    def do_scheduler(self, alive):
        for process in [self.processes.scheduler, *alive]:
            self.processes.end(process)
        self.frozen = []
        self.processes.start_scheduler()
        for _ in range(2):
            self.processes.start_worker()


def fit_until(end, data, expected, pool, found):
    """One fit after the other, counted."""
    for recipe, bits in cycle(zip(RECIPES, expected, strict=True)):
        if time.monotonic() > end:
            return
        try:
            model, _ = fit(data, recipe, pool)
        except bd.BlockdotError as error:
            found["lost"] += 1
            print(f"lost: {error}", file=sys.stderr, flush=True)
        else:
            found["fits"] += 1
            found["wrong"] += digest(model) != bits


def soak(minutes, seed):
    """What happened, in ``minutes`` of fits."""
    found = Counter()
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        data = rows(Path(directory))
        expected = [digest(fit(data, recipe, bd.ThreadPool(2))[0]) for recipe in RECIPES]
        processes = Processes(Path(directory))
        try:
            processes.start_scheduler()
            for _ in range(2):
                processes.start_worker()
            with Client(processes.address, set_as_default=False, timeout=60) as client, Counted(client) as pool:
                faults = Faults(processes, seed)
                faults.start()
                try:
                    fit_until(time.monotonic() + 60 * minutes, data, expected, pool, found)
                finally:
                    faults.over.set()
                    faults.join()
        finally:
            processes.end_all()
    return {
        "minutes": minutes,
        "seed": seed,
        "fits": found["fits"],
        "passes": pool.passes,
        "faults": dict(sorted(faults.counts.items())),
        "wrong bits": found["wrong"],
        "lost results": found["lost"],
        "longest pass in seconds": round(pool.longest, 1),
    }


if __name__ == "__main__":
    result = soak(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(json.dumps(result, indent=1))
    sys.exit(bool(result["wrong bits"] or result["lost results"]))
