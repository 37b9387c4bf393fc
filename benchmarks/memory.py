"""Memory: what a fit from a memory-mapped block store holds, and what glum's holds in memory.

The pages of the store are counted in the resident memory while the page cache keeps them, and the system may drop them
at any time; the anonymous memory is what the process needs for itself. A fit of a few rows is made first, so that what
the libraries and their compiled code hold is known apart. Each fit has a process of its own:
``python -m benchmarks.memory SYSTEM FOLDER LOSS ALPHA TOL [LIMIT]``, the limit in bytes.
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

import numpy as np

import blockdot as bd
from benchmarks import ours, peers
from benchmarks.cases import Case, load
from benchmarks.problems import Logistic, Problem, Tweedie

SAMPLED_EVERY = 0.002
ROOT = Path(__file__).parents[1]
GLM_TOL = 1e-7
POLICIES = ("policies-163k-poisson", "policies-1630k-poisson", "policies-16300k-poisson")


def measure(case: str, tol: float = 1e-4) -> dict[str, Any]:
    """A fit of the click log ``case`` from its store; and fits of policies, ours and glum's."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        rows = load(case)
        store = _stored(rows, Path(directory))
        features = len(bd.Dataset.open(store / "all").table)
        size = sum(path.stat().st_size for path in (store / "all").rglob("*") if path.is_file())
        held, _ = _fitted("blockdot", rows, store, tol)
    result = {"case": case, "tol": tol, "store": size, "vector": 8 * (features + 1), **held}
    print(f"memory {result}", flush=True)
    return {**result, "policies": policies()}


def policies() -> list[dict[str, Any]]:
    """Peak memory of Poisson regression on policies, and the objectives that were reached.

    Ours without a limit, and within what glum needed for a tenth of the policies; glum where ours needs less for more.
    """
    found: list[dict[str, Any]] = []
    theirs: int | None = None
    for name in POLICIES:
        with tempfile.TemporaryDirectory(prefix="bench-") as directory:
            case = load(name)
            store = _stored(case, Path(directory))
            runs: list[tuple[str, Path, int | None]] = [("blockdot", store, None)]
            if theirs is not None:
                runs.append(("blockdot", store, theirs))
            if name != POLICIES[-1]:
                runs.append(("glum", _coded(case, Path(directory)), None))
            for system, folder, limit in runs:
                held, value = _fitted(system, case, folder, GLM_TOL, limit)
                size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
                run = {"who": system, "rows": len(case.y), "limit": limit, "input": size, "value": value, **held}
                found.append(run)
                print(f"memory {run}", flush=True)
            theirs = found[-1]["resident"]
    return found


def _stored(case: Case, directory: Path) -> Path:
    """The rows, and a few of them, as block stores."""
    for name, part in (("all", case), ("few", case.few())):
        ours.dataset(part.rows).save(directory / "stores" / name)
    return directory / "stores"


def _coded(case: Case, directory: Path) -> Path:
    """The same as the numbers of their levels, which is all that glum's categorical matrices are made of."""
    folder = directory / "codes"
    folder.mkdir()
    for name, part in (("all", case), ("few", case.few())):
        np.savez(folder / f"{name}.npz", codes=part.rows.codes, y=part.y, s=part.rows.s, fields=part.rows.fields)
    return folder


def _fitted(
    system: str, case: Case, folder: Path, tol: float, limit: int | None = None
) -> tuple[dict[str, Any], float]:
    """What a fit in a process of its own held, and F."""
    problem = [case.one.loss.name, repr(case.one.alpha), repr(tol), *([] if limit is None else [str(limit)])]
    command = [sys.executable, "-m", "benchmarks.memory", system, str(folder), *problem]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    with np.load(folder / "model.npz") as model:
        value = float(case.values(model["w"], model["b"])[0])
    return json.loads(done.stdout.splitlines()[-1]), value


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


def _blockdot(problem: Problem, tol: float, data: Path) -> Any:
    return ours.estimator(problem, tol=tol).fit(bd.Dataset.open(data))


def _glum(problem: Problem, tol: float, data: Path) -> Any:
    with np.load(data.with_suffix(".npz")) as kept:
        codes, y, s, fields = (kept[name] for name in ("codes", "y", "s", "fields"))
    return peers.glum_estimator(problem, int(fields[-1]), tol).fit(peers.categories(codes, fields), y, s)


SYSTEMS = {"blockdot": _blockdot, "glum": _glum}
LOSSES = {loss.name: loss for loss in (Logistic(), Tweedie(1.0))}


def _main(system: str, folder: Path, problem: Problem, tol: float) -> None:
    """One fit, after one of a few rows."""
    warnings.simplefilter("ignore")
    SYSTEMS[system](problem, tol, folder / "few")
    before = status("RssAnon")
    sampler = Sampler()
    sampler.start()
    est = SYSTEMS[system](problem, tol, folder / "all")
    sampler.over.set()
    sampler.join()
    held = {"before": before, "anonymous": sampler.peak, "resident": status("VmHWM")}
    w, b = peers.answer(est.coef_, est.intercept_)
    np.savez(folder / "model.npz", w=w, b=b)
    print(json.dumps({**held, "iterations": int(est.n_iter_)}))


if __name__ == "__main__":
    if sys.argv[6:]:
        bd.ThreadPool(memory_limit=int(sys.argv[6]))  # this process keeps to it from here on
    _main(sys.argv[1], Path(sys.argv[2]), Problem(LOSSES[sys.argv[3]], float(sys.argv[4])), float(sys.argv[5]))
