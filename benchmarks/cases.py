"""The cases: data, and the problem that is solved on them.

A case is called by its data, or by its data and what is solved there where that is not L2 logistic regression with
α = 1/n: ``clicklog-200k``, ``clicklog-200k-l1``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path as FilePath

import numpy as np

from benchmarks import rows as data
from benchmarks.problems import Logistic, Path, Problem, Softmax, Tweedie
from benchmarks.rows import DATA, Floats, Rows

DENSE_ABOVE = 0.25  # a denser matrix is handed to the peers that take both as a dense array
N_ALPHAS, N_FOLDS = 20, 5
GLM_ALPHA = 1e-4

DEFAULT = (
    "digits", "a9a", "20news-hashed", "kddcup", "clicklog-200k", "clicklog-1m",
    "clicklog-200k-l1", "clicklog-200k-elastic-net", "20news-softmax",
    "motor-poisson", "motor-tweedie", "policies-163k-poisson", "policies-163k-tweedie",
    "a9a-path", "clicklog-200k-path", "clicklog-200k-l1-path",
)  # fmt: skip
LIMIT = 30.0  # seconds that a run may take
# A target needs more than that to be answered: the seconds that its systems may take.
LIMITS = {"clicklog-1m": 120.0, "clicklog-200k-path": 60.0, "clicklog-200k-l1-path": 90.0}
MORE = "clicklog-10m, and any clicklog-<n>k, policies-<n>k-poisson, …"


@dataclass(frozen=True, eq=False)
class Case:
    """Rows, and what is minimised over them."""

    name: str
    rows: Rows
    problem: Problem | Path

    @property
    def X(self) -> data.sp.csr_matrix:
        """(n, d), CSR, float32 values."""
        return self.rows.X

    @property
    def y(self) -> Floats:
        """(n,) targets."""
        return self.rows.y

    @property
    def signs(self) -> Floats:
        """Targets 0 and 1 as −1 and 1."""
        return np.where(self.y > 0, 1.0, -1.0)

    @property
    def is_dense(self) -> bool:
        """Whether a peer that takes both gets a dense array."""
        return self.rows.density > DENSE_ABOVE

    @property
    def one(self) -> Problem:
        """The problem of a case that has one minimum."""
        assert isinstance(self.problem, Problem)
        return self.problem

    @property
    def path(self) -> Path:
        """The problem of a case that has many."""
        assert isinstance(self.problem, Path)
        return self.problem

    def values(self, w: Floats, b: Floats) -> Floats:
        """F of each minimum that is looked for."""
        return self.problem.values(self.rows, w, b)

    def few(self, n: int = 1000) -> Case:
        """About ``n`` rows, of each class where there are classes: what compiled code is warmed up with."""
        labels = np.unique(self.y)
        if len(labels) > 100:
            places = np.arange(min(n, len(self.y)))
        else:
            each = -(-n // len(labels))
            places = np.concatenate([np.flatnonzero(self.y == label)[:each] for label in labels])
        return Case(f"{self.name}-few", self.rows.take(places), self.problem.few(places))


def load(name: str, folder: FilePath = DATA) -> Case:
    """The case ``name``. AbsentError where its raw data are missing."""
    ending = next((ending for ending in PROBLEMS if name.endswith(f"-{ending}")), "")
    called = SAME_DATA.get(name, name.removesuffix(f"-{ending}") if ending else name)
    rows, problem = PROBLEMS[ending](data.load(called, folder), called)
    return Case(name, rows, problem)


def _logistic(rows: Rows, called: str) -> tuple[Rows, Problem]:
    y = (rows.y < 10).astype(np.float64) if called == "20news" else rows.y  # the first ten groups against the others
    return Rows(rows.X, y), Problem(Logistic(), 1.0 / len(y))


def _with_l1(l1_ratio: float) -> Callable[[Rows, str], tuple[Rows, Problem]]:
    def made(rows: Rows, _: str) -> tuple[Rows, Problem]:
        return rows, Problem(Logistic(), 2.0 / len(rows.y), l1_ratio, (1e-2, 1e-3, 1e-4, 1e-5))

    return made


def _softmax(rows: Rows, _: str) -> tuple[Rows, Problem]:
    return rows, Problem(Softmax(), 1.0 / (10.0 * len(rows.y)), 0.0, (1e-2, 1e-3, 5e-4, 1e-5))  # C = 10


def _glm(column: int, power: float) -> Callable[[Rows, str], tuple[Rows, Problem]]:
    def made(rows: Rows, _: str) -> tuple[Rows, Problem]:
        y = np.ascontiguousarray(rows.y[:, column])
        return Rows(rows.X, y, rows.weight, rows.fields), Problem(Tweedie(power), GLM_ALPHA)

    return made


def _path(l1_ratio: float) -> Callable[[Rows, str], tuple[Rows, Path]]:
    """20 α in equal ratios down to 1/n, from 0.01; with L1 to 2/n, from where nothing is left. Folds of equal size."""

    def made(rows: Rows, _: str) -> tuple[Rows, Path]:
        n = len(rows.y) - len(rows.y) % N_FOLDS
        rows = rows.take(np.arange(n)).compact()
        fold = np.random.default_rng(0).permutation(n) % N_FOLDS
        first, last = 1e-2, 1.0 / n
        if l1_ratio:
            slopes = rows.X.T.astype(np.float64) @ (np.mean(rows.y) - rows.y) / n
            first, last = float(np.max(np.abs(slopes))) / l1_ratio, 2.0 / n
        return rows, Path(Logistic(), np.geomspace(first, last, N_ALPHAS), fold, N_FOLDS, l1_ratio)

    return made


PROBLEMS = {  # by the ending of a case's name; the longest that fits comes first
    "l1-path": _path(1.0),
    "path": _path(0.0),
    "l1": _with_l1(1.0),
    "elastic-net": _with_l1(0.5),
    "softmax": _softmax,
    "poisson": _glm(0, 1.0),
    "tweedie": _glm(1, 1.5),
    "": _logistic,
}
SAME_DATA = {"20news-hashed": "20news"}
