"""The systems that are compared: for each, what it solves, and a ladder of settings from loose to tight.

A system's ``prepare`` converts a case to the system's own input and returns a ``Solve``: a call that does the fit alone
and gives w and b. So the two can be timed apart.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from benchmarks import files, ours, paths, peers
from benchmarks.cases import Case
from benchmarks.ours import Prepare
from benchmarks.peers import LOW

CORES = len(os.sched_getaffinity(0))

L2 = frozenset({"logistic-l2"})
L1 = frozenset({"logistic-l1"})
L1S = frozenset({"logistic-l1", "logistic-elastic-net"})
SOFTMAX = frozenset({"softmax-l2"})
GLM = frozenset({"poisson-l2", "tweedie-l2"})
PATH_L2 = frozenset({"path-l2"})
PATH_L1 = frozenset({"path-l1"})
PATHS = PATH_L2 | PATH_L1
OTHER_PROBLEM = "does not solve this problem"


@dataclass(frozen=True)
class System:
    """One way to solve the problems in ``solves``."""

    name: str
    module: str
    prepare: Prepare
    ladder: tuple[str, ...]
    solves: frozenset[str]
    threads: int = 1
    """OMP_NUM_THREADS; BLAS always has one thread."""
    low: frozenset[str] = frozenset()
    """Problems that it solves by a dense Hessian, so on narrow data only."""
    most_rows: int | None = None
    cases: tuple[str, ...] | None = None
    """The only cases it runs on unless it is asked for; None for all."""
    is_one_hot_only: bool = False
    program: str | None = None
    """A program that must be on PATH."""
    note: str = ""

    @property
    def warm_up(self) -> str:
        """The setting for a few rows that leaves nothing to be imported, or compiled by Numba, on the clock.

        A tight fit reaches every part of a solver that is compiled as it is used; one of others could take minutes.
        """
        return self.ladder[-1 if self.module in ("blockdot", "skglm") else 0]

    def lacks(self, case: Case) -> str | None:
        """Why it takes no part in a case; None if it does."""
        kind, (n, d) = case.problem.kind, case.X.shape
        if kind not in self.solves or (self.is_one_hot_only and case.rows.fields is None):
            return OTHER_PROBLEM
        if kind in self.low and d > LOW:
            return f"forms a dense Hessian of {d:,} features ({8 * d * d / 2**30:,.0f} GiB)"
        if self.most_rows is not None and n > self.most_rows:
            return f"reads text, which is not written for more than {self.most_rows:,} rows"
        if self.program and shutil.which(self.program) is None:
            return f"no program {self.program} on PATH"
        if find_spec(self.module) is None:
            return f"the package {self.module} is not installed"
        return None

    def suits(self, case: Case) -> bool:
        """Whether it takes part in a case without being asked for."""
        return self.cases is None or case.name in self.cases


def _halves(first: int, last: int) -> tuple[str, ...]:
    """1e-first, 3e-first−1, … 1e-last: two steps a decade for every system, so that no ladder is coarser than ours."""
    steps = [f"{digit}e-{i}" for i in range(first + 1, last + 1) for digit in (3, 1)]
    return (f"1e-{first}", *steps)


OURS = ("1e-1", "3e-2", *_halves(2, 9))
SPARK = ("a9a", "clicklog-20k", "clicklog-200k", "clicklog-1m", "clicklog-200k-l1", "clicklog-200k-elastic-net")

ALL = (
    System("blockdot-1", "blockdot", ours.one(1), OURS, L2 | L1S | SOFTMAX | GLM, note="one thread"),
    System("blockdot-all", "blockdot", ours.one(None), OURS, L2 | L1S | SOFTMAX | GLM, CORES,
           note="a thread for each core"),
    System("path-1", "blockdot", ours.path(1), OURS, PATHS, note="blockdot's path in shared passes, one thread"),
    System("path-all", "blockdot", ours.path(None), OURS, PATHS, CORES, note="the same, a thread for each core"),
    System("separate-1", "blockdot", ours.separate(1), OURS, PATHS, note="blockdot, a fit for each model, one thread"),
    System("separate-all", "blockdot", ours.separate(None), OURS, PATHS, CORES,
           note="the same, a thread for each core"),
    System("liblinear", "liblinear", peers.liblinear, _halves(1, 7), L2 | L1,
           note="-s 0 or 6, -B 1 -R; it has one thread only"),
    System("snapml", "snapml", peers.snapml(1.0), _halves(1, 7), L2 | L1,
           note="dual, for L1 primal, n_jobs=2; penalises the bias"),
    System("snapml-tens", "snapml", peers.snapml(10.0), _halves(1, 7), L2 | L1,
           note="the same with a bias of tens (intercept_scaling), which penalises it less"),
    System("sklearn-newton-cg", "sklearn", peers.sklearn("newton-cg"), _halves(2, 8), L2 | SOFTMAX, CORES,
           note="float64"),
    System("sklearn-newton-cg-f32", "sklearn", peers.sklearn("newton-cg", np.float32), _halves(2, 8), L2 | SOFTMAX,
           CORES, note="float32"),
    System("sklearn-lbfgs", "sklearn", peers.sklearn("lbfgs"), _halves(2, 8), L2 | SOFTMAX | GLM, CORES,
           note="float64"),
    System("sklearn-lbfgs-f32", "sklearn", peers.sklearn("lbfgs", np.float32), _halves(2, 8), L2 | SOFTMAX, CORES,
           note="float32"),
    System("sklearn-newton-cholesky", "sklearn", peers.sklearn("newton-cholesky"), _halves(1, 6), L2 | GLM, CORES,
           low=L2 | GLM, note="float64; narrow data only"),
    System("sklearn-saga", "sklearn", peers.sklearn("saga"), _halves(1, 5), L1S | SOFTMAX, note="float64"),
    System("sklearn-saga-f32", "sklearn", peers.sklearn("saga", np.float32), _halves(1, 5), SOFTMAX, note="float32"),
    System("glum", "glum", peers.glum(), _halves(1, 8), L2 | L1S | GLM, CORES, low=L1S,
           note="irls-ls on narrow data, lbfgs on wide, irls-cd for L1"),
    System("glum-categorical", "glum", peers.glum(categorical=True), _halves(1, 8), GLM, CORES, is_one_hot_only=True,
           note="the same on tabmat's categorical matrices"),
    System("skglm", "skglm", peers.skglm, _halves(2, 8), L2 | L1S,
           note="L-BFGS, where the bias is the weight of a column of tens, penalised a hundredth as much as the "
           "others; for L1 its proximal Newton"),
    System("sklearn-cv-newton-cg", "sklearn", paths.sklearn("newton-cg"), _halves(2, 6), PATH_L2, CORES,
           note="LogisticRegressionCV"),
    System("sklearn-cv-lbfgs", "sklearn", paths.sklearn("lbfgs"), _halves(2, 6), PATH_L2, CORES,
           note="LogisticRegressionCV"),
    System("sklearn-cv-newton-cholesky", "sklearn", paths.sklearn("newton-cholesky"), _halves(1, 6), PATH_L2, CORES,
           low=PATH_L2, note="LogisticRegressionCV"),
    System("sklearn-cv-saga", "sklearn", paths.sklearn("saga"), _halves(1, 4), PATH_L1, note="LogisticRegressionCV"),
    System("glum-cv", "glum", paths.glum, _halves(2, 8), PATHS, CORES, low=PATHS,
           note="GeneralizedLinearRegressorCV"),
    System("skglm-path", "skglm", paths.skglm, _halves(2, 6), PATH_L1, note="proximal Newton, warm starts"),
    System("liblinear-separate", "liblinear", paths.liblinear, _halves(1, 6), PATHS, note="a fit for each model"),
    System("vw-bfgs", "vowpalwabbit", files.vw_bfgs, ("5", "10", "20", "40", "80", "160", "320"), L2,
           most_rows=2_000_000,
           note="--bfgs from its cache file, float32 weights, bias not penalised; setting: passes"),
    System("vw-sgd", "vowpalwabbit", files.vw_sgd, ("1", "4", "16"), L2, most_rows=2_000_000,
           note="its default online learner from its cache file, with --l2; setting: passes"),
    System("spark", "pyspark", files.spark, _halves(3, 8), L2 | L1S | SOFTMAX, CORES, most_rows=2_000_000,
           cases=SPARK, program="java", note="MLlib, local[2], data cached; standardization=False; setting: tol"),
)  # fmt: skip
BY_NAME = {system.name: system for system in ALL}


def chosen(names: Sequence[str] | None) -> list[System]:
    """The systems called ``names``; a name before a hyphen stands for all that start with it."""
    if not names:
        return list(ALL)
    found = [s for s in ALL if any(s.name == name or s.name.startswith(f"{name}-") for name in names)]
    unknown = [name for name in names if not any(s.name == name or s.name.startswith(f"{name}-") for s in ALL)]
    if unknown:
        raise SystemExit(f"no system called {', '.join(unknown)}; there are {', '.join(BY_NAME)}")
    return found
