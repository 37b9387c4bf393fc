"""Insurance policies, one-hot: an Australian motor portfolio, and policies that are generated.

    y[:, 0] = claims / exposure           a year, for Poisson
    y[:, 1] = amount / exposure           a year, in thousands, for Tweedie            weight = exposure

The generated ones have 16 rating factors with 609 levels in all, most of them rare (the j-th level as often as 1/j);
the truth has an effect for each level, claims are Poisson, and the amount of a claim is gamma.
"""

from __future__ import annotations

import csv
import gzip
from itertools import combinations
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from benchmarks.rows import Floats, Rows

Codes = NDArray[np.int64]

LEVELS = (2, 2, 2, 3, 4, 6, 11, 14, 21, 22, 23, 31, 74, 80, 100, 214)
FREQUENCY = 0.14  # claims a year of the average policy, as in Belgian and French motor portfolios
AMOUNT = 1.6  # thousands a claim
SHAPE = 0.7  # of the gamma distribution of amounts
BINS = 100  # of the vehicle's value, by quantiles


def policies(n: int, seed: int = 0) -> Rows:
    """``n`` generated policies."""
    rng = np.random.default_rng(seed)
    truth = np.random.default_rng(12345)
    codes, logs = [], np.zeros((2, n))
    for levels in LEVELS:
        code = np.minimum((levels + 1) ** rng.random(n) - 1, levels - 1).astype(np.int64)
        codes.append(truth.permutation(levels)[code])
        effect = truth.normal(0, 0.15, (2, levels))
        logs += effect[:, codes[-1]]
    exposure = np.where(rng.random(n) < 0.6, 1.0, np.maximum(rng.random(n), 1 / 365))
    claims = rng.poisson(FREQUENCY * np.exp(logs[0]) * exposure)
    amounts = np.zeros(n)
    some = claims > 0
    amounts[some] = rng.gamma(SHAPE * claims[some], AMOUNT / SHAPE) * np.exp(logs[1, some])
    return one_hot(codes, np.stack([claims, amounts], axis=1), exposure)


def motor(path: Path) -> Rows:
    """The policies of ausprivauto0405: their factors, each pair of these, and the vehicle's value by quantiles."""
    with gzip.open(path, "rt", newline="") as lines:
        table = list(csv.DictReader(lines))
    columns = {name: [row[name] for row in table] for name in table[0]}
    numbers = {name: np.array(columns[name], np.float64) for name in ("Exposure", "VehValue", "ClaimNb", "ClaimAmount")}
    factors = [np.unique(columns[name], return_inverse=True)[1] for name in ("VehAge", "VehBody", "Gender", "DrivAge")]
    edges = np.unique(np.quantile(numbers["VehValue"], np.linspace(0, 1, BINS + 1)[1:-1]))
    codes = [*factors, np.searchsorted(edges, numbers["VehValue"], side="right")]
    codes += [a * (b.max() + 1) + b for a, b in combinations(factors, 2)]
    codes = [np.unique(code, return_inverse=True)[1] for code in codes]  # only what occurs
    y = np.stack([numbers["ClaimNb"], numbers["ClaimAmount"] / 1000.0], axis=1)
    return one_hot(codes, y, numbers["Exposure"])


def one_hot(codes: list[Codes], totals: Floats, exposure: Floats) -> Rows:
    """Rows with a one in each field; ``codes`` are the levels of each field, ``totals`` what occurred in a policy."""
    ends = np.concatenate([[0], np.cumsum([code.max() + 1 for code in codes])])
    n, width = len(exposure), len(codes)
    columns = (np.stack(codes, axis=1) + ends[:-1]).astype(np.int32)
    starts = np.arange(0, n * width + 1, width, dtype=np.int32)
    X = sp.csr_matrix((np.ones(n * width, np.float32), columns.ravel(), starts), shape=(n, int(ends[-1])))
    return Rows(X, totals / exposure[:, np.newaxis], exposure, ends.astype(np.int64))
