"""The cases: data sets of two classes, made once and kept in ``benchmarks/.cache``, and the objective on them.

    F(w, b) = (1/n) Σ log(1 + exp(−t z)) + α/2 ‖w‖²,     z = X w + b,   t = ±1,   α = 1/n,   b free

F is computed here with NumPy and SciPy in float64, by none of the systems that are compared.
"""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from benchmarks.clicklog import clicklog

Rows = tuple[sp.csr_matrix, NDArray[np.float32]]

CACHE = Path(__file__).parent / ".cache"
DATA = Path(__file__).parents[1] / ".." / "shared" / "data"
DENSE_ABOVE = 0.25  # a denser matrix is handed to the peers that take both as a dense array


class AbsentError(Exception):
    """The raw data of a case are not on this machine."""


@dataclass(frozen=True)
class Case:
    """Rows in CSR form with float32 values, and targets 0 or 1."""

    name: str
    X: sp.csr_matrix
    y: NDArray[np.float32]

    @property
    def alpha(self) -> float:
        """The strength of the penalty."""
        return 1.0 / self.X.shape[0]

    @property
    def signs(self) -> NDArray[np.float64]:
        """The targets as −1 and 1."""
        return np.where(self.y > 0, 1.0, -1.0)

    @property
    def density(self) -> float:
        """The share of the entries that are stored."""
        return float(self.X.nnz / (self.X.shape[0] * self.X.shape[1]))

    def value(self, w: NDArray[np.float64], b: float) -> float:
        """F(w, b)."""
        loss, step = 0.0, 1 << 18  # in parts, because SciPy copies a float32 matrix to multiply by float64
        for start in range(0, self.X.shape[0], step):
            z = self.X[start : start + step].astype(np.float64) @ w + b
            loss += float(np.sum(np.logaddexp(0.0, -self.signs[start : start + step] * z)))
        return loss / self.X.shape[0] + 0.5 * self.alpha * float(np.sum(w * w))

    def few(self, n: int = 1000) -> Case:
        """``n`` rows, half of each class where there are as many: what compiled code is warmed up with."""
        rows = np.concatenate([np.flatnonzero(self.y == label)[: n // 2] for label in (0, 1)])
        return Case(f"{self.name}-few", self.X[rows], self.y[rows])


def load(name: str, data: Path = DATA) -> Case:
    """The case ``name``, from the cache or made now. AbsentError where its raw data are missing."""
    path = CACHE / f"{name}.npz"
    if not path.exists():
        X, y = _make(name, data)
        CACHE.mkdir(exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez(part, data=X.data, indices=X.indices, indptr=X.indptr, shape=np.array(X.shape), y=y)
        part.rename(path)
    with np.load(path) as kept:
        X = sp.csr_matrix((kept["data"], kept["indices"], kept["indptr"]), shape=tuple(kept["shape"]))
        X.has_canonical_format = True
        return Case(name, X, kept["y"])


def _make(name: str, data: Path) -> Rows:
    sized = re.fullmatch(r"clicklog-(\d+)([km])", name)
    if sized:
        return clicklog(int(sized[1]) * {"k": 1000, "m": 1_000_000}[sized[2]])
    X, y = MADE[name](data)
    X = sp.csr_matrix(X, dtype=np.float32)
    X.sum_duplicates()
    X.eliminate_zeros()
    return X, np.asarray(y, np.float32)


def _raw(data: Path, below: str) -> Path:
    path = data / below
    if not path.exists():
        raise AbsentError(f"no file {below} in the data folder (--data)")
    return path


def _a9a(data: Path) -> Rows:
    from sklearn.datasets import load_svmlight_file

    X, y = load_svmlight_file(str(_raw(data, "svmlight/a9a")))
    return X, y > 0


def _newsgroups(data: Path) -> Rows:
    """Words hashed to 2^18 slots, tf-idf with logarithmic counts; the first ten groups against the others."""
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    groups, texts = [], []
    with gzip.open(_raw(data, "text/20news_bydate_train.tsv.gz"), "rt", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            group, _, text = line.rstrip("\n").split("\t", 2)
            groups.append(group)
            texts.append(text)
    counts = HashingVectorizer(n_features=1 << 18, norm=None, alternate_sign=False).transform(texts)
    _, index = np.unique(groups, return_inverse=True)
    return TfidfTransformer(sublinear_tf=True).fit_transform(counts), index < 10


def _digits(_: Path) -> Rows:
    from sklearn.datasets import load_digits

    X, digit = load_digits(return_X_y=True)
    return X / 16.0, digit >= 5


def _kddcup(data: Path) -> Rows:
    """Network connections: three columns of text one-hot, log1p of the numbers; normal ones against attacks."""
    text, places = (1, 2, 3), {}
    cells: list[tuple[int, int, float]] = []
    targets = []
    with gzip.open(_raw(data, "tabular/kddcup.data_10_percent.gz"), "rt", newline="") as lines:
        for i, row in enumerate(csv.reader(lines)):
            targets.append(row[-1] == "normal.")
            for j, cell in enumerate(row[:-1]):
                if j in text:
                    cells.append((i, places.setdefault((j, cell), len(places)), 1.0))
                else:
                    number = float(cell)
                    if number != 0:
                        cells.append((i, places.setdefault((j, ""), len(places)), number))
    table = np.array(cells)
    rows, columns = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)
    one_hot = np.isin(columns, [place for (j, _), place in places.items() if j in text])
    values = np.where(one_hot, 1.0, np.log1p(table[:, 2]))
    return sp.csr_matrix((values, (rows, columns)), shape=(len(targets), len(places))), np.array(targets)


MADE: dict[str, Callable[[Path], Rows]] = {
    "a9a": _a9a,
    "20news-hashed": _newsgroups,
    "digits": _digits,
    "kddcup": _kddcup,
}
DEFAULT = ("digits", "a9a", "20news-hashed", "kddcup", "clicklog-200k", "clicklog-1m")
