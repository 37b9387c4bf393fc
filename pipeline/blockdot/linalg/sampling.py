"""Which entries of a matrix take part, where all pairs of its columns would be too many: DIMSUM.

    entry (i, j) is kept with probability pⱼ = min(1, √γ / mⱼ),        mⱼ = ‖aⱼ‖ / maxᵢ |aᵢⱼ| ≥ 1
    estimate of cos(aⱼ, aₖ):   Σ over rows i that keep both of  aᵢⱼ aᵢₖ / (‖aⱼ‖ pⱼ ‖aₖ‖ pₖ)

so a column of many entries gives about √γ mⱼ of them, however many rows there are. Zadeh & Carlsson, *Dimension
independent matrix square using MapReduce* (2013), algorithm 4; an entry is kept or not for all of its pairs at once,
which changes nothing for one pair, whose rows are independent of each other.

The estimate has no bias, and its variance is at most 1/γ: with bᵢⱼ = aᵢⱼ / maxᵢ |aᵢⱼ| it is
Σᵢ bᵢⱼ² bᵢₖ² (1/(pⱼ pₖ) − 1) / (mⱼ² mₖ²); where both are sampled, bᵢⱼ² bᵢₖ² ≤ |bᵢⱼ bᵢₖ| and Cauchy–Schwarz give
1/(pⱼ mⱼ pₖ mₖ) = 1/γ; where one is, b² ≤ 1 of that one gives 1/(√γ mₖ) ≤ 1/γ. No term exceeds 1/√γ, so by Bernstein's
inequality, with ε = 1/√γ the standard error that is asked for,

    P(|estimate − cos| ≥ t)  ≤  2 exp(−t² / (2 ε (ε + t/3))).

The choice is made by a hash of the row's identity, the feature's id and the seed (blocks/identity.py), so the same
entries are kept on any number of workers and for any cut. The same holds with rows and columns exchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from blockdot.blocks.block import Block
from blockdot.blocks.identity import splitmix
from blockdot.blocks.matrix import Floats
from blockdot.errors import SpecError
from blockdot.linalg.sparse import Sparse


@dataclass(frozen=True)
class Sampling:
    """Entries kept by a hash of who they are, with a probability for each row, or else for each column."""

    seed: int
    by_row: bool

    def keep(self, rows: Sparse, block: Block, first_row: int, p: Floats) -> None:
        """Drop entries of ``rows``, the rows of a block that begins with row ``first_row``.

        ``p`` is (n_b,) for the block's rows, or (columns,) for its columns.
        """
        length = np.diff(rows.indptr)
        identity = np.arange(first_row, first_row + block.n_rows) if block.row_id is None else block.row_id
        of_row = splitmix(identity.astype(np.uint64) ^ splitmix(np.uint64(self.seed)))
        of_entry = splitmix(np.repeat(of_row, length) ^ splitmix(block.columns.astype(np.uint64))[rows.indices])
        chance = np.repeat(p, length) if self.by_row else p[rows.indices]
        dropped = (of_entry >> np.uint64(11)) * 2.0**-53 >= chance
        rows.data[dropped] = 0.0
        rows.eliminate_zeros()


def probabilities(norm: Floats, largest: Floats, error: float) -> Floats:
    """p of columns with these norms and largest entries, for a standard error of ``error`` in every cosine."""
    if not 0.0 < error < 1.0:
        raise SpecError(f"error is {error!r}; needed between 0 and 1: the standard error of a cosine")
    size = np.divide(norm, largest, out=np.ones_like(norm), where=largest > 0)
    return np.minimum(1.0, 1.0 / (error * np.maximum(size, 1.0)))
