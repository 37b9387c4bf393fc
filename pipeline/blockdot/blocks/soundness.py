"""What is checked before a compiled loop sees it: those loops write outside their arrays for an index out of range.

Rows come from arrays, which may be anyone's (:func:`csr_of`), or from the files of a store, which may be anyone's, too,
for a checksum can be made to agree (:func:`check_block`, :func:`check_table`, :func:`refuse_compressed`). Everything is
looked at once: in arrays when they become blocks, in a file when a process first uses it.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from blockdot.blocks import products
from blockdot.blocks.block import Block
from blockdot.blocks.manifest import BlockEntry
from blockdot.blocks.table import FeatureTable
from blockdot.errors import DataError, StoreError

# ---- arrays


def csr_of(X: sp.sparray | sp.spmatrix | ArrayLike) -> sp.csr_array:
    """``X`` as compressed sparse rows: ascending columns, no column twice in a row, finite float32 or float64 values.

    The caller's arrays are never written to. Raises DataError, with row and column where there is one.
    """
    matrix = X if sp.issparse(X) else np.asarray(X)
    if matrix.ndim != 2:
        raise DataError(f"X has {matrix.ndim} dimensions; needed 2: rows and features")
    if matrix.dtype.kind not in "fiub":
        raise DataError(f"X has the type {matrix.dtype}; needed real numbers")
    check_parts(matrix)
    result = sp.csr_array(matrix)
    _check_compressed(result, *result.shape)
    dtype = np.float32 if result.dtype == np.float32 else np.float64
    result = result.astype(dtype, copy=False)
    if products.unsound_row(result.indptr, result.indices, 0, result.shape[1]) >= 0:  # in range: not in order, then
        result = result.copy()
        result.has_sorted_indices = result.has_canonical_format = False  # whatever its maker said
        result.sum_duplicates()
    bad = np.flatnonzero(~np.isfinite(result.data))
    if bad.size:
        row = int(np.searchsorted(result.indptr, bad[0], side="right")) - 1
        column, value = result.indices[bad[0]], result.data[bad[0]]
        raise DataError(f"X[{row}, {column}] is {value}; needed finite numbers: impute or drop the row first")
    return result


def check_parts(X: object) -> None:
    """Raise DataError for a sparse matrix whose parts do not fit; what is not sparse is let pass.

    scipy checks the parts when a matrix is made, not when they were changed since, and converts in C.
    """
    if not sp.issparse(X):
        return
    matrix: Any = X
    if matrix.ndim != 2:
        return
    rows, columns = matrix.shape
    if matrix.format == "csr":
        _check_compressed(matrix, rows, columns)
    elif matrix.format == "csc":
        _check_compressed(matrix, columns, rows)
    elif matrix.format == "bsr":
        high, wide = matrix.blocksize
        _check_compressed(matrix, rows // high, columns // wide, values_dimensions=3)
    elif matrix.format == "coo":
        places = (matrix.row, matrix.col)
        lengths = {len(matrix.data), *map(len, places)}
        if len(lengths) > 1 or any(_out_of_range(p, size) for p, size in zip(places, matrix.shape, strict=True)):
            raise _strange(matrix, "row or column numbers that are out of range, or not one for each value")
    elif matrix.format == "dia":
        if matrix.data.ndim != 2 or len(matrix.data) != len(matrix.offsets):
            raise _strange(matrix, "not one line of data for each offset")
    elif matrix.format == "lil":
        for i, (places, values) in enumerate(zip(matrix.rows, matrix.data, strict=True)):
            if len(places) != len(values) or any(not 0 <= place < columns for place in places):
                raise _strange(matrix, f"columns in row {i} that are out of range, or not one for each value")


def _check_compressed(matrix: Any, major: int, minor: int, values_dimensions: int = 1) -> None:
    indptr, indices, data = matrix.indptr, matrix.indices, matrix.data
    if indptr.ndim != 1 or indices.ndim != 1 or data.ndim != values_dimensions:
        raise _strange(matrix, "indptr, indices or data of the wrong number of dimensions")
    if indptr.dtype.kind not in "iu" or indices.dtype.kind not in "iu":
        raise _strange(matrix, f"indptr and indices of the types {indptr.dtype} and {indices.dtype}")
    if len(indptr) != major + 1 or indptr[0] != 0 or np.any(indptr[1:] < indptr[:-1]):
        raise _strange(matrix, f"an indptr that is not {major + 1:,} numbers that ascend from 0")
    end = int(indptr[-1])
    if end > len(indices) or len(indices) != len(data):
        raise _strange(matrix, f"an indptr up to {end:,} for {len(indices):,} indices and {len(data):,} values")
    if _out_of_range(indices[:end], minor):
        raise _strange(matrix, f"indices from {indices[:end].min()} to {indices[:end].max()} for a width of {minor:,}")


def _out_of_range(indices: NDArray[np.integer], size: int) -> bool:
    return indices.size > 0 and not (int(indices.min()) >= 0 and int(indices.max()) < size)


def _strange(matrix: Any, found: str) -> DataError:
    return DataError(
        f"X is a {matrix.format} matrix of the shape {matrix.shape} that has {found}; needed parts that scipy's "
        "check_format accepts: make the matrix again"
    )


# ---- files


def check_block(path: Path, block: Block, entry: BlockEntry) -> None:
    """See that numbers read from the file ``path`` can be used as they are. Raises StoreError."""
    X, rows = block.X, block.n_rows
    columns = {
        "y": block.y, "weight": block.sample_weight, "offset": block.offset,
        "row_id": block.row_id, "group": block.group,
    }  # fmt: skip
    lengths = {name: len(array) for name, array in columns.items() if array is not None}
    wrong = None
    if any(length != rows for length in lengths.values()) or (X.dense is not None and len(X.dense) != rows):
        wrong = f"{rows} rows, and another number of {', '.join(lengths)} or dense rows"
    elif block.row_id is not None and np.any(block.row_id < 0):
        wrong = "row ids that are negative"
    elif (row := int(products.unsound_row(X.indptr, X.indices, X.n_dense, X.n_columns))) >= 0:
        wrong = f"indices in row {row} that do not ascend, or are outside {X.n_dense} to {X.n_columns - 1}"
    elif not all(_finite(array) for array in (X.values, X.dense, block.y, block.sample_weight, block.offset)):
        wrong = "numbers that are not finite"
    elif block.sample_weight is not None and np.any(block.sample_weight < 0):
        wrong = "negative weights"
    elif not abs(block.weight - entry.weight) <= 1e-9 * abs(block.weight):
        wrong = f"rows of the weight {block.weight:g}, and the manifest says {entry.weight:g}"
    if wrong is not None:
        raise StoreError(f"{path} holds {wrong}; ingest the store again")


def check_table(path: Path, table: FeatureTable, n_occurring: int, n_features: int) -> None:
    """See that a table of features read from ``path`` is one, and is what the manifest says. Raises StoreError."""
    wrong = None
    types = [str(array.dtype) for array in (table.ids, table.count, table.total, table.squares)]
    if types != ["int64", "int64", "float64", "float64"]:
        wrong = f"columns of the types {', '.join(types)}"
    elif len(table) != n_occurring:
        wrong = f"{len(table)} features, and the manifest says {n_occurring}"
    elif _out_of_range(table.ids, n_features):
        wrong = f"feature ids from {table.ids.min()} to {table.ids.max()}, needed 0 to {n_features - 1}"
    elif len(np.unique(table.ids)) != len(table):
        wrong = "a feature twice"
    elif not (_finite(table.total) and _finite(table.squares)):
        wrong = "sums that are not finite"
    elif table.count.size and (table.count[-1] < 1 or np.any(np.diff(table.count) > 0)):
        wrong = "features that are not in the order of their counts, or have none"
    if wrong is not None:
        raise StoreError(f"{path} holds {wrong}; ingest the store again")


def _finite(array: NDArray[np.floating] | None) -> bool:
    """Whether all numbers are: the least and the largest are NaN if one is, and need no array of their own."""
    return array is None or array.size == 0 or bool(np.isfinite(array.min()) and np.isfinite(array.max()))


def refuse_compressed(path: Path, file: pa.Buffer) -> None:
    """Raise StoreError for an Arrow file with compressed buffers, which could grow to any size when it is read.

    A store is mapped, so its files are never compressed. pyarrow does not say whether one is before it has expanded it,
    so the headers are read here: the footer lists where the messages are, and a record batch names its compression
    (Arrow columnar format, "IPC file format"; the encoding is that of FlatBuffers).
    """
    data = memoryview(file)
    try:
        if _is_compressed(data):
            raise StoreError(f"{path} is compressed, and a store never is: it was made by something else; refused")
    except (struct.error, IndexError, OverflowError):
        raise StoreError(f"{path} is not an Arrow file: its headers point outside of it; refused") from None


_RECORD_BATCH, _DICTIONARY_BATCH = 3, 2  # types of messages
_DICTIONARIES, _RECORD_BATCHES = 2, 3  # fields of the footer


def _is_compressed(data: memoryview) -> bool:
    footer_size = _read("<i", data, len(data) - 10)
    footer = _follow(data, len(data) - 10 - footer_size)
    for field in (_DICTIONARIES, _RECORD_BATCHES):
        blocks = _field(data, footer, field)
        if blocks is None:
            continue
        vector = _follow(data, blocks)
        for i in range(_read("<I", data, vector)):
            message = _read("<q", data, vector + 4 + 24 * i)
            prefix = 8 if _read("<I", data, message) == 0xFFFFFFFF else 4
            if _message_is_compressed(data, _follow(data, message + prefix)):
                return True
    return False


def _message_is_compressed(data: memoryview, message: int) -> bool:
    kind, header = _field(data, message, 1), _field(data, message, 2)
    if kind is None or header is None:
        return False
    batch = _follow(data, header)
    if _read("<B", data, kind) == _DICTIONARY_BATCH:
        inner = _field(data, batch, 1)
        if inner is None:
            return False
        batch = _follow(data, inner)
    elif _read("<B", data, kind) != _RECORD_BATCH:
        return False
    return _field(data, batch, 3) is not None


def _field(data: memoryview, table: int, number: int) -> int | None:
    """Where a field of a FlatBuffers table is; None if it is not there."""
    layout = table - _read("<i", data, table)
    at = 4 + 2 * number
    if at >= _read("<H", data, layout):
        return None
    offset = _read("<H", data, layout + at)
    return table + offset if offset else None


def _follow(data: memoryview, at: int) -> int:
    return at + _read("<I", data, at)


def _read(form: str, data: memoryview, at: int) -> int:
    if at < 0:
        raise IndexError(at)
    return int(struct.unpack_from(form, data, at)[0])
