"""The model of `blockdot plan` beside what was measured: ``python -m benchmarks.plan [CASE …]`` prints two tables.

Each case is written as a store; its costs are predicted from the manifest and products over a few blocks, timed on one
thread in the same run, and a Hessian product is measured on threads and on worker processes of a Dask cluster on this
machine. A second table has the memory: what was said, and the largest resident memory of a fit in processes of its own.
Fixed costs of a pass and of a call are fitted to all rows of worker processes and printed below, to be compared with
those that the model has.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import blockdot as bd
from benchmarks.cases import load
from benchmarks.roofline import typical
from blockdot.blocks.manifest import Manifest
from blockdot.jobs.costs import Costs
from blockdot.jobs.plan import crew_of, measured, objective_of, shape_of
from blockdot.jobs.spec import ClusterTable, Job

CASES = ("clicklog-100k", "clicklog-1m")
COUNTS = (1, 2, 4)
ROOT = Path(__file__).parents[1]


def job_of(alpha: float) -> Job:
    """A job whose [model] is that of the passes; its files are not looked at."""
    data = {"format": "svmlight", "train": "none"}
    return Job.model_validate({"job": {"name": "plan"}, "data": data, "model": {"kind": "logistic", "alpha": alpha}})


def predicted(dataset: bd.Dataset, alpha: float) -> Costs:
    """The costs on one thread; other crews by replacing it."""
    assert dataset.path is not None
    objective, need = objective_of(job_of(alpha), dataset)
    rates = measured(objective, dataset, need.layout.width)
    shape = shape_of(Manifest.read(dataset.path), dataset.table)
    return Costs(shape, need, crew_of(ClusterTable(kind="threads", workers=1)), rates)


@contextmanager
def pool_of(kind: str, count: int) -> Iterator[Any]:
    """Threads, or worker processes of one thread each."""
    if kind == "threads":
        yield bd.ThreadPool(count)
        return
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=count, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
        bd.DaskPool(client) as pool,
    ):
        client.wait_for_workers(count)
        yield pool


def product(dataset: bd.Dataset, pool: Any, alpha: float) -> float:
    """Seconds of a Hessian product with a new vector each time, as in a solve."""
    rng = np.random.default_rng(0)
    with dataset.on(pool) as blocks:
        objective = bd.Objective(bd.Logistic(), bd.Linear(), bd.L2(alpha), blocks)
        w, vs = 0.01 * rng.normal(size=objective.size), iter(rng.normal(size=(64, objective.size)))
        return typical(lambda: objective.hess_vec(w, next(vs)), 15)


def passes(cases: Sequence[str], directory: Path) -> None:
    """Print the table of passes, and the fixed costs that fit it best."""
    print("| store | pool | count | predicted ms | of it compute | fixed | wire | measured ms | measured/predicted |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    rest: list[tuple[int, float]] = []
    for case in cases:
        rows = load(case)
        dataset = bd.Dataset.from_arrays(rows.X, rows.y).save(directory / case)
        costs = predicted(dataset, rows.one.alpha)
        for kind in ("threads", "local"):
            for count in COUNTS:
                crew = crew_of(ClusterTable.model_validate({"kind": kind, "workers": count}))
                found = replace(costs, crew=crew)
                with pool_of(kind, count) as pool:
                    seconds = product(dataset, pool, rows.one.alpha)
                parts = found.seconds()
                numbers = [1e3 * parts[name] for name in ("compute", "fixed", "wire")]
                print(
                    f"| {case} | {crew.wire.name} | {count} | {1e3 * found.pass_seconds:.1f} | "
                    + " | ".join(f"{number:.1f}" for number in numbers)
                    + f" | {1e3 * seconds:.1f} | {seconds / found.pass_seconds:.2f} |",
                    flush=True,
                )
                if kind == "local":
                    rest.append((len(found.calls), seconds - (found.pass_seconds - parts["fixed"])))
    calls, left = np.array(rest).T
    (a_call, a_pass), *_ = np.linalg.lstsq(np.stack([calls, np.ones_like(calls)], axis=1), left, rcond=None)
    print(f"\nfixed costs that fit best: {1e3 * a_pass:.1f} ms a pass, {1e3 * a_call:.1f} ms a call")


def memory(cases: Sequence[str], directory: Path) -> None:
    """Print what processes were said to hold, and what they held."""
    print("\n| store | pool | process | said MiB | held MiB | held/said |\n| --- | --- | --- | ---: | ---: | ---: |")
    for case in cases:
        dataset, alpha = bd.Dataset.open(directory / case), load(case).one.alpha
        costs = predicted(dataset, alpha)
        for kind in ("threads", "local"):
            crew = crew_of(ClusterTable.model_validate({"kind": kind, "workers": 2}))
            said = {holding.name: holding.total for holding in replace(costs, crew=crew).holdings()}
            command = [sys.executable, "-m", "benchmarks.plan", "--fit", str(directory / case), kind, repr(alpha)]
            done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
            for name, size in json.loads(done.stdout.splitlines()[-1]).items():
                print(
                    f"| {case} | {crew.wire.name}, 2 | {name} | {said[name] >> 20} | {size >> 20} | "
                    f"{size / said[name]:.2f} |",
                    flush=True,
                )


def _fit(path: str, kind: str, alpha: float) -> dict[str, int]:
    from blockdot.models.fit import fit
    from blockdot.models.recipe import Recipe

    with pool_of(kind, 2) as pool:
        fit(bd.Dataset.open(path), Recipe("logistic", alpha=alpha, tol=1e-5, max_iter=50), pool)
        pids = pool.everywhere(os.getpid).values()
        workers = [_peak(str(pid)) for pid in pids]
    return {"worker": max(workers), "driver": _peak("self")} if workers else {"process": _peak("self")}


def _peak(pid: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fit"]:
        print(json.dumps(_fit(sys.argv[2], sys.argv[3], float(sys.argv[4]))))
    else:
        wanted = sys.argv[1:] or CASES
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            passes(wanted, Path(folder))
            memory(wanted, Path(folder))
