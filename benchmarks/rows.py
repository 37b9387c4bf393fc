"""The data of the cases: rows that are made once and kept in ``benchmarks/.cache``.

What is not generated is read from the folder of raw data (``--data``); where it is missing, AbsentError says so.
"""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from benchmarks.clicklog import clicklog

Floats = NDArray[np.float64]

CACHE = Path(__file__).parent / ".cache"
DATA = Path(__file__).parents[1] / ".." / "shared" / "data"


class AbsentError(Exception):
    """The raw data of a case are not on this machine."""


@dataclass(frozen=True, eq=False)
class Rows:
    """n rows.

    Attributes
    ----------
    X
        (n, d), CSR, float32 values.
    y
        (n,) targets, float64: 0 or 1, the number of a class, or an amount; (n, T) where there are several to choose.
    weight
        (n,) weights, or None for ones.
    fields
        Of data that are one-hot in every column: the first column of each field, then d; each row has one entry in
        each field. None for other data.
    """

    X: sp.csr_matrix
    y: Floats
    weight: Floats | None = None
    fields: NDArray[np.int64] | None = None

    @property
    def s(self) -> Floats:
        """The weights as numbers."""
        return np.ones(len(self.y)) if self.weight is None else self.weight

    @property
    def density(self) -> float:
        """The share of the entries that are stored."""
        return float(self.X.nnz / (self.X.shape[0] * self.X.shape[1]))

    @property
    def codes(self) -> NDArray[np.int32]:
        """(n, fields) the number of each row's level in each field, of one-hot data."""
        assert self.fields is not None
        return self.X.indices.reshape(len(self.y), -1) - self.fields[:-1].astype(np.int32)

    def take(self, places: NDArray[np.int64]) -> Rows:
        """Some of the rows."""
        weight = None if self.weight is None else self.weight[places]
        return replace(self, X=self.X[places], y=self.y[places], weight=weight)

    def compact(self) -> Rows:
        """The same rows over the columns that occur, so that coefficients of many models fit in memory."""
        columns, places = np.unique(self.X.indices, return_inverse=True)
        X = sp.csr_matrix((self.X.data, places.astype(np.int32), self.X.indptr), shape=(len(self.y), len(columns)))
        return replace(self, X=X, fields=None)


def load(name: str, data: Path = DATA) -> Rows:
    """The rows called ``name``, from the cache or made now. AbsentError where their raw data are missing."""
    path = CACHE / f"{name}.rows.npz"
    if not path.exists():
        rows = _make(name, data)
        X = rows.X
        arrays = {"data": X.data, "indices": X.indices, "indptr": X.indptr, "shape": np.array(X.shape), "y": rows.y}
        more = {key: value for key in ("weight", "fields") if (value := getattr(rows, key)) is not None}
        CACHE.mkdir(exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez(part, **arrays, **more)
        part.rename(path)
    with np.load(path) as kept:
        X = sp.csr_matrix((kept["data"], kept["indices"], kept["indptr"]), shape=tuple(kept["shape"]))
        X.has_canonical_format = True
        return Rows(X, kept["y"], *(kept.get(key) for key in ("weight", "fields")))


def _make(name: str, data: Path) -> Rows:
    sized = re.fullmatch(r"(clicklog|policies)-(\d+)([km])", name)
    if sized:
        n = int(sized[2]) * {"k": 1000, "m": 1_000_000}[sized[3]]
        if sized[1] == "policies":
            from benchmarks.insurance import policies

            return policies(n)
        X, y = clicklog(n)
        return Rows(X, y.astype(np.float64))
    if name not in MADE:
        raise SystemExit(f"no data called {name}; there are {', '.join(MADE)}, clicklog-<n>k, policies-<n>k")
    return MADE[name](data)


def _plain(X: object, y: object) -> Rows:
    matrix = sp.csr_matrix(X, dtype=np.float32)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return Rows(matrix, np.asarray(y, np.float64))


def raw(data: Path, below: str) -> Path:
    """A file of the raw data."""
    path = data / below
    if not path.exists():
        raise AbsentError(f"no file {below} in the data folder (--data)")
    return path


def _a9a(data: Path) -> Rows:
    from sklearn.datasets import load_svmlight_file

    X, y = load_svmlight_file(str(raw(data, "svmlight/a9a")))
    return _plain(X, y > 0)


def _newsgroups(data: Path) -> Rows:
    """Words hashed to 2^18 slots, tf-idf with logarithmic counts; the numbers of the 20 groups."""
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

    groups, texts = [], []
    with gzip.open(raw(data, "text/20news_bydate_train.tsv.gz"), "rt", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            group, _, text = line.rstrip("\n").split("\t", 2)
            groups.append(group)
            texts.append(text)
    counts = HashingVectorizer(n_features=1 << 18, norm=None, alternate_sign=False).transform(texts)
    _, index = np.unique(groups, return_inverse=True)
    return _plain(TfidfTransformer(sublinear_tf=True).fit_transform(counts), index)


def _digits(_: Path) -> Rows:
    from sklearn.datasets import load_digits

    X, digit = load_digits(return_X_y=True)
    return _plain(X / 16.0, digit >= 5)


def _kddcup(data: Path) -> Rows:
    """Network connections: three columns of text one-hot, log1p of the numbers; normal ones against attacks."""
    text, places = (1, 2, 3), {}
    cells: list[tuple[int, int, float]] = []
    targets = []
    with gzip.open(raw(data, "tabular/kddcup.data_10_percent.gz"), "rt", newline="") as lines:
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
    at, columns = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)
    one_hot = np.isin(columns, [place for (j, _), place in places.items() if j in text])
    values = np.where(one_hot, 1.0, np.log1p(table[:, 2]))
    return _plain(sp.csr_matrix((values, (at, columns)), shape=(len(targets), len(places))), np.array(targets))


def _motor(data: Path) -> Rows:
    from benchmarks.insurance import motor

    return motor(raw(data, "tabular/insurance/ausprivauto0405.csv.gz"))


MADE: dict[str, Callable[[Path], Rows]] = {
    "a9a": _a9a,
    "20news": _newsgroups,
    "digits": _digits,
    "kddcup": _kddcup,
    "motor": _motor,
}
