"""Parquet row groups become tables.

Columns keep their types: a number is used as it is, and a category is the text of the value (``1``, ``true``,
``2013-01-31``). Null and NaN are missing, as are the missing tokens in columns of text. Rows count from 1 in each file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from blockdot.errors import DataError
from blockdot.ingest.plan import Chunk, parquet_file
from blockdot.ingest.spec import DataSpec
from blockdot.ingest.table import Table

# Rows of a batch: a run of equal values takes no room in the file, and all of it in memory.
_MOST_ROWS = 1 << 20


def read(chunk: Chunk, needed: Sequence[str], spec: DataSpec, block_bytes: int) -> Iterator[Table]:
    """The columns ``needed`` of some row groups, in tables of about ``block_bytes``."""
    path = chunk.source.path
    file = parquet_file(path)
    groups = range(chunk.start, chunk.stop)
    size = sum(file.metadata.row_group(i).total_byte_size for i in groups)
    rows = sum(file.metadata.row_group(i).num_rows for i in groups)
    row = chunk.first_line
    try:
        for batch in file.iter_batches(
            batch_size=min(max(1, rows * block_bytes // max(size, block_bytes)), _MOST_ROWS),
            row_groups=list(groups),
            columns=list(needed),
        ):
            lines = np.arange(row, row + batch.num_rows, dtype=np.int64)
            yield Table(str(path), lines, {name: batch.column(name) for name in needed}, spec.missing)
            row += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path}: row {row} and those after it cannot be read ({error}); write the file again"
        ) from None
