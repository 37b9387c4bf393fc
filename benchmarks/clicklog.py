"""The click log: rows with 13 numeric and 26 hashed categorical features in 2^20 slots, power-law columns.

A categorical column has 4 … 2 million levels, drawn from a Pareto law, so a few slots occur in most rows and most slots
almost never; the truth is a sparse linear model. The numbers depend on ``n`` and ``seed`` alone.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

SLOTS = 1 << 20
NUMERIC = 13
CATEGORICAL = 26
TRUTH_SEED = 12345


def clicklog(n: int, seed: int = 0) -> tuple[sp.csr_matrix, NDArray[np.float32]]:
    """``n`` rows with float32 values, and their targets 0 or 1."""
    rng = np.random.default_rng(seed)
    width = NUMERIC + CATEGORICAL
    slots = np.empty((n, width), np.int32)
    values = np.ones((n, width), np.float32)
    for j in range(NUMERIC):
        slots[:, j] = j
        values[:, j] = np.log1p(rng.exponential(3, n)).astype(np.float32)
    for c, levels in enumerate(np.geomspace(4, 2e6, CATEGORICAL).astype(int)):
        level = np.minimum((rng.pareto(0.9, n) * 3).astype(np.int64), levels - 1)
        slots[:, NUMERIC + c] = NUMERIC + ((level * 2654435761 + c * 97531) % (SLOTS - NUMERIC)).astype(np.int32)
    slots.sort(axis=1)  # the numeric slots are the smallest, so their values stay in place
    X = sp.csr_matrix((values.ravel(), slots.ravel(), np.arange(0, n * width + 1, width)), shape=(n, SLOTS))
    X.sum_duplicates()
    z = X @ _truth() - 2.0
    y = (rng.random(n) < 1 / (1 + np.exp(-z))).astype(np.float32)
    return X, y


def _truth() -> NDArray[np.float64]:
    rng = np.random.default_rng(TRUTH_SEED)
    w = rng.normal(0, 0.4, SLOTS) * (rng.random(SLOTS) < 0.5)
    w[:NUMERIC] = rng.normal(0, 0.2, NUMERIC)
    return w
