"""Arguments of the matrix, checked at the door."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from blockdot.blocks.matrix import Floats
from blockdot.errors import DataError, SpecError

# So many columns, or rows, have a dense matrix of inner products (128 MiB); more need a threshold.
_DENSE = 4096


def factors(name: str, values: ArrayLike | None, size: int) -> Floats | None:
    """(size,) finite numbers, a copy; None where there are none."""
    if values is None:
        return None
    array = np.array(values, np.float64)
    if array.shape != (size,):
        raise DataError(f"{name} has the shape {array.shape}; needed ({size},)")
    if not np.all(np.isfinite(array)):
        raise DataError(f"{name}[{int(np.argmin(np.isfinite(array)))}] is not finite; needed finite numbers")
    return array


def a_threshold(threshold: float) -> float:
    """What entries must reach in size."""
    if not threshold >= 0:
        raise SpecError(f"threshold is {threshold!r}; needed a number of at least 0")
    return threshold


def refuse_many(count: int, what: str) -> None:
    """SpecError where all pairs of ``count`` columns or rows would be too large a matrix."""
    if count > _DENSE:
        raise SpecError(
            f"inner products of all pairs of {count:,} {what} would be {count:,}² numbers; at most {_DENSE:,} {what} "
            "have them all: give a threshold (0 keeps whatever is not 0), or take X.occurring() first"
        )


def refuse_sampling(error: float | None) -> None:
    """SpecError for a sampled result in which every pair counts."""
    if error is not None:
        raise SpecError("estimates with an error need a threshold: the pairs that are looked for")
