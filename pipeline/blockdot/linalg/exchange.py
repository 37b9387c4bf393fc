"""From and to what others compute with: scipy, NumPy, Dask arrays, Parquet files.

A Parquet folder has a file for each block, part-00000.parquet, …, with a row for each row:

    indices   list<int64>     the columns that have an entry, and
    values    list<double>    their values
    y         double, or a list of them for several labels;   weight, offset   double
    row_id, group             int64

each of the last absent where there is none, and the number of columns as ``n_columns`` in the schema's metadata.
Files that others wrote are read, too: all that is needed is ``indices``; values that are absent are 1, and without
``n_columns`` it is the largest index and 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from blockdot import atomic
from blockdot.blocks.block import Block
from blockdot.blocks.dataset import Dataset
from blockdot.blocks.layout import Layout
from blockdot.blocks.matrix import Floats
from blockdot.blocks.store import WrittenBlock, new_store, write_block
from blockdot.blocks.sums import Source
from blockdot.errors import DataError
from blockdot.linalg.derived import ColumnsOf, SeenRows
from blockdot.linalg.sparse import Sparse, empty, entries_of, stacked

if TYPE_CHECKING:
    from blockdot.blocks.dask import Array

_OPTIONAL = {"y": "y", "weight": "sample_weight", "offset": "offset", "row_id": "row_id", "group": "group"}
_WHOLE = ("row_id", "group")


@dataclass(frozen=True, eq=False)
class AsParquet:
    """A block as the bytes of a Parquet file."""

    entries: ColumnsOf

    layout = Layout()

    def __call__(self, block: Block, *given: Floats | None) -> bytes:
        found = self.entries(block, *given)
        offsets = pa.array(found.indptr.astype(np.int32))
        columns = {
            "indices": pa.ListArray.from_arrays(offsets, pa.array(found.indices.astype(np.int64))),
            "values": pa.ListArray.from_arrays(offsets, pa.array(found.data)),
        }
        for name, attribute in _OPTIONAL.items():
            array = getattr(block, attribute)
            if array is not None:
                flat = pa.array(array.ravel())
                columns[name] = flat if array.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, array.shape[1])
        table = pa.table(columns).replace_schema_metadata({"n_columns": str(self.entries.n_columns)})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        return bytes(sink.getvalue())


@dataclass(frozen=True, eq=False)
class Chunk:
    """The rows of block i, read when it is called."""

    source: Source
    entries: ColumnsOf
    vectors: tuple[Floats, ...]
    each: Sequence[Floats | None]

    def __call__(self, index: int) -> Sparse:
        block = self.source.block(index)
        return self.entries(block, *(self.entries.layout.gather(v, block) for v in self.vectors), self.each[index])


def to_scipy(seen: SeenRows) -> Sparse:
    """All rows in one matrix."""
    parts = list(seen.map(seen.entries))
    return stacked(parts, seen.entries.n_columns)


def to_dask(seen: SeenRows) -> Array:
    """A chunk for each block."""
    from blockdot.blocks.dask import lazy_rows

    data, n_columns = seen.rows.data, seen.entries.n_columns
    chunk = Chunk(data.source, seen.entries, seen.vectors, seen.each)
    return lazy_rows(chunk, data.block_rows, n_columns, empty(0, n_columns))


def to_parquet(seen: SeenRows, path: Path) -> None:
    """A file for each block; the folder appears when all are written."""
    with atomic.new_directory(path) as directory:
        for i, data in enumerate(seen.map(AsParquet(seen.entries))):
            atomic.write_file(directory / f"part-{i:05d}.parquet", data)


def dataset_of(data: Any) -> Dataset:
    """An array in memory as blocks; of a Dask array each chunk of rows becomes a block, computed one after another."""
    if not hasattr(data, "to_delayed"):
        return Dataset.from_arrays(data)
    array: Any = data
    if array.ndim != 2:
        raise DataError(f"the Dask array has {array.ndim} dimensions; needed 2: rows and columns")
    whole = array.rechunk({1: -1}) if array.numblocks[1] > 1 else array
    blocks: list[Block] = []
    start = 0
    for part in whole.to_delayed()[:, 0]:
        chunk = part.compute()
        if hasattr(chunk, "tocsr") and entries_of(chunk) is None:  # sparse.COO
            chunk = chunk.tocsr()
        rows = Dataset.from_arrays(chunk, block_rows=max(chunk.shape[0], 1))
        for block in (rows.source.block(i) for i in range(rows.n_blocks)):
            blocks.append(replace(block, row_id=np.arange(start, start + block.n_rows)))
            start += block.n_rows
    return Dataset.from_blocks(blocks, int(array.shape[1]))


def from_parquet(path: Path, out: Path | None) -> Dataset:
    """A Parquet file, or the files of a folder in the order of their names; each row group becomes a block."""
    files = sorted(file for file in path.glob("*.parquet") if file.name[0] not in "._") if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path} holds no Parquet file; needed one or more, as to_parquet writes them")
    n_columns = 0
    for file in files:
        n_columns = max(n_columns, _columns_said(file))
    if out is None:
        blocks = [block for file in files for block in _blocks(file)]
        return Dataset.from_blocks(blocks, max(n_columns, _width(blocks)))
    with new_store(out) as writer:
        written: list[WrittenBlock] = []
        widest = 0
        for file in files:
            for block in _blocks(file):
                widest = max(widest, _width([block]))
                written.append(write_block(block, writer.directory, f"block-{len(written):05d}"))
        writer.commit(written, n_features=max(n_columns, widest))
    return Dataset.open(out)


def _width(blocks: Sequence[Block]) -> int:
    return max((int(block.columns.max(initial=-1)) for block in blocks), default=-1) + 1


def _columns_said(file: Path) -> int:
    try:
        metadata = pq.read_schema(file).metadata or {}
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{file} cannot be read as Parquet: {error}") from None
    said = metadata.get(b"n_columns", b"0")
    if not said.isdigit():
        raise DataError(f"{file}: n_columns is {said!r} in the metadata; needed a whole number")
    return int(said)


def _blocks(file: Path) -> Iterator[Block]:
    with pq.ParquetFile(file) as reader:
        for group in range(reader.num_row_groups):
            yield _block(file, group, reader.read_row_group(group).combine_chunks())


def _block(file: Path, group: int, table: pa.Table) -> Block:
    where = f"{file}, row group {group}"
    indptr, ids = _lists(where, table, "indices", pa.int64())
    values = None
    if "values" in table.column_names:
        ends, values = _lists(where, table, "values", pa.float64())
        if not np.array_equal(ends, indptr):
            raise DataError(f"{where}: the lists of indices and values differ in length; needed a value for each index")
        if not np.all(np.isfinite(values)):
            raise DataError(f"{where}: values that are NaN or infinite; needed finite numbers")
    row = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    order = np.lexsort((ids, row))
    if np.any((np.diff(ids[order]) == 0) & (np.diff(row[order]) == 0)):
        raise DataError(f"{where}: an index occurs twice in a row; needed each once")
    found: dict[str, Any] = {
        attribute: _numbers(where, table, name) for name, attribute in _OPTIONAL.items() if name in table.column_names
    }
    return Block.from_rows(indptr, ids, values, dtype=np.float64, **found)


def _lists(where: str, table: pa.Table, name: str, dtype: pa.DataType) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Row offsets from 0, and the items of all rows."""
    if name not in table.column_names:
        raise DataError(f"{where} has no column {name!r}; it has {', '.join(table.column_names)}")
    column = table.column(name)
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        raise DataError(f"{where}: {name} has the type {column.type}; needed lists of numbers")
    if column.null_count:
        raise DataError(f"{where}: {name} has empty cells; needed a list in each row")
    try:
        items = pa.concat_arrays([chunk.flatten() for chunk in column.chunks] or [pa.array([], dtype)]).cast(dtype)
    except pa.ArrowException as error:
        raise DataError(f"{where}: {name} cannot be read as lists of {dtype}: {error}") from None
    if items.null_count:
        raise DataError(f"{where}: {name} has numbers that are missing in its lists; needed all of them")
    lengths = np.concatenate([np.diff(chunk.offsets.to_numpy()) for chunk in column.chunks] or [np.empty(0)])
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), items.to_numpy(zero_copy_only=True)


def _numbers(where: str, table: pa.Table, name: str) -> NDArray[Any]:
    """(n,) the numbers of a column, or (n, L) where each cell is a list of L."""
    column = table.column(name).combine_chunks()
    dtype, width = pa.int64() if name in _WHOLE else pa.float64(), None
    if pa.types.is_fixed_size_list(column.type):
        width, column = column.type.list_size, column.flatten()
    try:
        column = column.cast(dtype)
    except pa.ArrowException as error:
        raise DataError(f"{where}: {name} cannot be read as numbers: {error}") from None
    numbers = column.to_numpy(zero_copy_only=False)
    if column.null_count or not np.all(np.isfinite(numbers)):
        raise DataError(f"{where}: {name} has cells that are empty or not finite; needed a number in each row")
    return np.asarray(numbers if width is None else numbers.reshape(-1, width))
