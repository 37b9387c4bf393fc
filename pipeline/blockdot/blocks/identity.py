"""Random choices that follow a row wherever it goes: by a hash of its identity, not by where or when it is read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def splitmix(x: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    """Steele, Lea & Flood, *Fast splittable pseudorandom number generators* (OOPSLA 2014), figure 10."""
    with np.errstate(over="ignore"):  # the arithmetic is modulo 2^64
        z = np.asarray(x, np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)))
