"""What the tests of ingest share: stores read back as plain arrays, and the real files beside the checkout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp

from blockdot.blocks.dataset import Dataset


def _read_back(data: Dataset) -> SimpleNamespace:
    blocks = [data.source.block(i) for i in range(data.source.n_blocks)]
    matrices, lines = [], []
    for block in blocks:
        local = block.X.to_scipy().tocoo()
        shape = (block.n_rows, data.n_features)
        matrices.append(sp.csr_array((local.data, (local.row, block.columns[local.col])), shape=shape))
        lines.append(block.row_id)

    def joined(name: str) -> np.ndarray | None:
        parts = [getattr(block, name) for block in blocks]
        return None if parts[0] is None else np.concatenate(parts)

    row_id = np.concatenate(lines)
    return SimpleNamespace(
        X=sp.vstack(matrices).toarray(),
        y=joined("y"),
        weight=joined("sample_weight"),
        offset=joined("offset"),
        line=row_id & (2**40 - 1),
        file=row_id >> 40,
        group=joined("group"),
        n_blocks=len(blocks),
    )


@pytest.fixture
def read_back() -> Callable[[Dataset], SimpleNamespace]:
    """The rows of a store in order: dense X, y, weight, offset, group, and file and line of each row."""
    return _read_back


@pytest.fixture
def real_data() -> Path:
    """The folder of public data sets beside the checkout."""
    folder = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the public data sets are not beside this checkout")
    return folder
