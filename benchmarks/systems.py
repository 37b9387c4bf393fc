"""The systems that are compared: for each, a ladder of settings from loose to tight, and how a case is solved with it.

A system's ``prepare`` converts a case to the system's own input and returns a ``Solve``: a call that does the fit alone
and gives w and b. So the two can be timed apart.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from benchmarks import files, peers
from benchmarks.cases import Case

Solve = Callable[[], tuple[NDArray[np.float64], float]]
Prepare = Callable[[Case, str], Solve]

CORES = len(os.sched_getaffinity(0))
LOW = 5000  # features: below it, systems that form a dense Hessian take part


@dataclass(frozen=True)
class System:
    """One way to solve the problem."""

    name: str
    module: str
    prepare: Prepare
    ladder: tuple[str, ...]
    threads: int = 1
    """OMP_NUM_THREADS; BLAS always has one thread."""
    low_only: bool = False
    cases: tuple[str, ...] | None = None
    """The only cases it runs on unless it is asked for; None for all."""
    program: str | None = None
    """A program that must be on PATH."""
    note: str = ""

    def absent(self) -> str | None:
        """Why the system cannot run on this machine; None if it can."""
        if self.program and shutil.which(self.program) is None:
            return f"no program {self.program} on PATH"
        if find_spec(self.module) is None:
            return f"the package {self.module} is not installed"
        return None

    def suits(self, case: Case) -> bool:
        """Whether it takes part in a case by default."""
        if self.low_only and case.X.shape[1] > LOW:
            return False
        return self.cases is None or case.name in self.cases


def _halves(first: int, last: int) -> tuple[str, ...]:
    """1e-first, 3e-first−1, … 1e-last: two steps a decade for every system, so that no ladder is coarser than ours."""
    steps = [f"{digit}e-{i}" for i in range(first + 1, last + 1) for digit in (3, 1)]
    return (f"1e-{first}", *steps)


OURS = ("3e-2", *_halves(2, 8))

ALL = (
    System("blockdot-1", "blockdot", peers.blockdot_one, OURS, note="one thread"),
    System("blockdot-all", "blockdot", peers.blockdot_all, OURS, CORES, note="a thread for each core"),
    System("liblinear", "liblinear", peers.liblinear, _halves(1, 7), note="-s 0 -B 1 -R; it has one thread only"),
    System("snapml", "snapml", peers.snapml(1.0), _halves(1, 7), note="dual, n_jobs=2; penalises the bias"),
    System("snapml-tens", "snapml", peers.snapml(10.0), _halves(1, 7),
           note="the same with intercept_scaling=10, which penalises the bias a hundredth as much"),
    System("sklearn-newton-cg", "sklearn", peers.sklearn("newton-cg"), _halves(2, 8), CORES, note="float64"),
    System("sklearn-newton-cg-f32", "sklearn", peers.sklearn("newton-cg", np.float32), _halves(2, 8), CORES,
           note="float32"),
    System("sklearn-lbfgs", "sklearn", peers.sklearn("lbfgs"), _halves(2, 8), CORES, note="float64"),
    System("sklearn-lbfgs-f32", "sklearn", peers.sklearn("lbfgs", np.float32), _halves(2, 8), CORES, note="float32"),
    System("sklearn-newton-cholesky", "sklearn", peers.sklearn("newton-cholesky"), _halves(1, 6), CORES,
           low_only=True, note="float64; narrow data only"),
    System("glum", "glum", peers.glum, _halves(2, 8), CORES, note="irls-ls on narrow data, lbfgs on wide"),
    System("skglm", "skglm", peers.skglm, _halves(2, 8),
           note="L-BFGS; the bias is the weight of a column of tens, penalised a hundredth as much as the others"),
    System("vw-bfgs", "vowpalwabbit", files.vw_bfgs, ("5", "10", "20", "40", "80", "160", "320"),
           note="--bfgs from its cache file, float32 weights, bias not penalised; setting: passes"),
    System("vw-sgd", "vowpalwabbit", files.vw_sgd, ("1", "4", "16"),
           note="its default online learner from its cache file, with --l2; setting: passes"),
    System("spark", "pyspark", files.spark, _halves(3, 8), CORES, cases=("a9a", "clicklog-20k", "clicklog-200k"),
           program="java", note="MLlib, local[2], data cached; standardization=False; setting: tol"),
)  # fmt: skip
BY_NAME = {system.name: system for system in ALL}
SKLEARN = tuple(system.name for system in ALL if system.module == "sklearn")


def chosen(names: Sequence[str] | None) -> list[System]:
    """The systems called ``names``; a name before a hyphen stands for all that start with it."""
    if not names:
        return list(ALL)
    found = [s for s in ALL if any(s.name == name or s.name.startswith(f"{name}-") for name in names)]
    unknown = [name for name in names if not any(s.name == name or s.name.startswith(f"{name}-") for s in ALL)]
    if unknown:
        raise SystemExit(f"no system called {', '.join(unknown)}; there are {', '.join(BY_NAME)}")
    return found
