"""The block store on disk: Arrow IPC files, memory-mapped without a copy, and a manifest written last.

    DIR/manifest.json            what must be there: sizes, checksums, counts (see manifest.py)
    DIR/features.arrow           the features that occur (see table.py)
    DIR/blocks/part-00000.arrow  one record batch:
        indices  list<dictionary<int64, uint32>>   row → places among `columns`, the dictionary
        values   list<float32 | float64>           absent when all are 1
        dense    fixed_size_list<float32 | float64>[D]   the first D columns in full; absent when D = 0
        y, weight, offset  float64                 each absent when there is none
        y        fixed_size_list<float64>[L]       of rows that have any number of L labels
        row_id, group      int64                   each absent when there is none

A block file is checked, once in each process, before its first number is used: size, checksum, shape, and the range of
every index, because a compiled loop would write outside its vector for an index out of range.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from blockdot import atomic
from blockdot.blocks.block import Block
from blockdot.blocks.manifest import MANIFEST, BlockEntry, FileEntry, Manifest, checksum
from blockdot.blocks.matrix import Matrix
from blockdot.blocks.pages import Mapping
from blockdot.blocks.soundness import check_block, check_table, refuse_compressed
from blockdot.blocks.table import FeatureTable
from blockdot.errors import BlockdotError, DataError, StoreError

_FEW_LABELS = 256


@dataclass(frozen=True)
class WrittenBlock:
    """What the writer of a block hands back for the manifest."""

    entry: BlockEntry
    table: FeatureTable
    n_labels: int | None = None


def write_block(block: Block, directory: Path, name: str) -> WrittenBlock:
    """Write ``block`` to ``directory/name.arrow``."""
    data = _serialise(block)
    path = directory / f"{name}.arrow"
    if not directory.is_dir():
        raise StoreError(
            f"{directory} does not exist on the machine that should write a block into it; "
            "workers and the machine that starts the job need a file system in common"
        )
    atomic.write_file(path, data)
    entry = BlockEntry(
        **FileEntry.of(path.name, data).model_dump(),
        rows=block.n_rows,
        nnz=block.X.nnz,
        columns=len(block.columns),
        weight=block.weight,
        labels=_label_counts(block.y),
    )
    return WrittenBlock(entry, FeatureTable.of_block(block), block.n_labels)


class StoreWriter:
    """Collects the files of a new store in ``directory``; :meth:`commit` names them and writes the manifest."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def commit(
        self,
        written: Sequence[WrittenBlock],
        *,
        n_features: int | None = None,
        features: dict[str, Any] | None = None,
        classes: Sequence[str] | None = None,
        files: Sequence[str] = (),
        rows_read: int | None = None,
        dropped: dict[str, int] | None = None,
    ) -> Manifest:
        """Name the blocks in the order given and write the table of features and, last, the manifest.

        ``n_features`` is the width of the space of ids (default: one more than the largest id that occurs).
        """
        (self.directory / "blocks").mkdir()
        entries = []
        for i, part in enumerate(written):
            name = f"blocks/part-{i:05d}.arrow"
            (self.directory / part.entry.file).rename(self.directory / name)
            entries.append(part.entry.model_copy(update={"file": name}))
        table = FeatureTable.merged([part.table for part in written])
        data = _table_bytes(table)
        atomic.write_file(self.directory / "features.arrow", data)
        rows, n_labels = sum(entry.rows for entry in entries), _same_labels(written)
        manifest = Manifest(
            version=2 if n_labels is None else 3,
            rows=rows,
            nnz=sum(entry.nnz for entry in entries),
            n_features=int(table.ids.max(initial=-1)) + 1 if n_features is None else n_features,
            n_occurring=len(table),
            table=FileEntry.of("features.arrow", data),
            blocks=tuple(entries),
            classes=None if classes is None else tuple(classes),
            n_labels=n_labels,
            features=features,
            files=tuple(files),
            rows_read=rows if rows_read is None else rows_read,
            dropped=dropped or {},
        ).sealed()
        atomic.write_file(self.directory / MANIFEST, manifest.to_json())
        return manifest


@contextmanager
def new_store(path: Path, *, overwrite: bool = False) -> Iterator[StoreWriter]:
    """Write a store aside; it becomes ``path`` when the ``with`` block ends without an error, whole or not at all."""
    with atomic.new_directory(path, overwrite=overwrite) as directory:
        yield StoreWriter(directory)
        if not (directory / MANIFEST).exists():
            raise StoreError(f"{path}: nothing was committed to the new store")


def verify_store(path: Path) -> list[str]:
    """Read every byte of a store; the list of what is wrong with it, empty when nothing is."""
    try:
        manifest = Manifest.read(path)
    except BlockdotError as error:
        return [str(error)]
    problems, table = [], None
    for entry in (manifest.table, *manifest.blocks):
        try:
            if not isinstance(entry, BlockEntry):
                table = read_table(path, manifest)
                continue
            block = read_block(path, entry, manifest.n_labels).block
            if table is not None:
                placed(path / entry.file, block, table)
        except BlockdotError as error:
            problems.append(str(error))
    known = {entry.file for entry in (manifest.table, *manifest.blocks)} | {MANIFEST}
    found = {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}
    return problems + [f"{path / name}: this file does not belong to the store" for name in sorted(found - known)]


class MappedBlock(NamedTuple):
    """A block, and the file that its arrays are views of."""

    block: Block
    mapping: Mapping


def read_block(store: Path, entry: BlockEntry, n_labels: int | None) -> MappedBlock:
    """Map one block file and check it."""
    path = store / entry.file
    batch, mapping = _map(store, entry)
    try:
        block = _deserialise(batch)
    except (KeyError, TypeError, AttributeError, ValueError, pa.ArrowException) as error:
        raise StoreError(f"{path} is not a block: {error}; ingest the store again") from None
    _check_block(path, block, entry, n_labels)
    return MappedBlock(block, mapping)


def placed(path: Path, block: Block, table: FeatureTable) -> Block:
    """The block of the file ``path`` with the places of its columns in the table of the store."""
    try:
        return block.placed(table.locate(block.columns), len(table))
    except DataError as error:
        raise StoreError(f"{path} and the table of features differ: {error}; ingest the store again") from None


def _serialise(block: Block) -> memoryview:
    X = block.X
    offsets = pa.array(X.indptr)
    indices = pa.DictionaryArray.from_arrays(pa.array(X.indices), pa.array(block.columns))
    columns = {"indices": pa.ListArray.from_arrays(offsets, indices)}
    if X.values is not None:
        columns["values"] = pa.ListArray.from_arrays(offsets, pa.array(X.values))
    optional = {
        "dense": X.dense, "y": block.y, "weight": block.sample_weight, "offset": block.offset, "row_id": block.row_id,
        "group": block.group,
    }  # fmt: skip
    columns |= {name: _to_arrow(array) for name, array in optional.items() if array is not None}
    return _ipc_bytes(pa.record_batch(columns))


def _to_arrow(array: NDArray[Any]) -> pa.Array:
    flat = pa.array(array.ravel())
    return flat if array.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, array.shape[1])


def _from_arrow(column: pa.Array) -> NDArray[Any]:
    """A view of the mapped bytes, (n,) or (n, columns)."""
    if not pa.types.is_fixed_size_list(column.type):
        return np.asarray(column.to_numpy(zero_copy_only=True))
    width = column.type.list_size
    return np.asarray(column.flatten().to_numpy(zero_copy_only=True)).reshape(len(column), width)


def _deserialise(batch: pa.RecordBatch) -> Block:
    rows = batch.column("indices")
    entries, indptr = rows.values, rows.offsets.to_numpy()
    names = set(batch.schema.names)

    def optional(name: str) -> NDArray[Any] | None:
        return _from_arrow(batch.column(name)) if name in names else None

    values = None
    if "values" in names:
        if not np.array_equal(batch.column("values").offsets.to_numpy(), indptr):
            raise ValueError("values and indices differ in their rows")
        values = batch.column("values").values.to_numpy(zero_copy_only=True)
    dense = optional("dense")
    if dense is not None and dense.ndim != 2:
        raise ValueError("dense is no list of a fixed size")
    columns = entries.dictionary.to_numpy(zero_copy_only=True)
    X = Matrix(indptr, entries.indices.to_numpy(zero_copy_only=True), values, len(columns), dense)
    return Block(
        X, columns, None, optional("y"), optional("weight"), optional("offset"), optional("row_id"), optional("group")
    )


def _same_labels(written: Sequence[WrittenBlock]) -> int | None:
    """L of all blocks; StoreError where they differ."""
    found = list(dict.fromkeys(part.n_labels for part in written))
    if len(found) > 1:
        shown = " and ".join("no" if count is None else str(count) for count in found[:2])
        raise StoreError(f"the blocks of a store have targets with {shown} label columns; needed the same in all")
    return found[0] if found else None


def _check_block(path: Path, block: Block, entry: BlockEntry, n_labels: int | None) -> None:
    X = block.X
    wrong = None
    if X.indptr.dtype != np.int32 or X.indices.dtype != np.uint32 or block.columns.dtype != np.int64:
        wrong = f"types {X.indptr.dtype}, {X.indices.dtype}, {block.columns.dtype}, needed int32, uint32, int64"
    elif X.values is not None and X.values.dtype not in (np.float32, np.float64):
        wrong = f"values of type {X.values.dtype}, needed float32 or float64"
    elif X.dense is not None and X.dense.dtype not in (np.float32, np.float64):
        wrong = f"dense columns of type {X.dense.dtype}, needed float32 or float64"
    elif any(a is not None and a.dtype != np.float64 for a in (block.y, block.sample_weight, block.offset)):
        wrong = "targets, weights or offsets that are not float64"
    elif block.n_labels != n_labels or any(
        a is not None and a.ndim != 1 for a in (block.sample_weight, block.offset, block.row_id, block.group)
    ):
        wrong = f"targets, weights or offsets of another shape than the manifest says (label columns: {n_labels})"
    elif any(a is not None and a.dtype != np.int64 for a in (block.row_id, block.group)):
        wrong = "row ids or groups that are not int64"
    elif (X.n_rows, X.nnz, X.n_columns) != (entry.rows, entry.nnz, entry.columns):
        wrong = f"{X.n_rows} rows, {X.nnz} non-zeros, {X.n_columns} columns, and the manifest says otherwise"
    elif X.indptr[0] != 0 or np.any(np.diff(X.indptr) < 0) or len(X.indices) != X.indptr[-1]:
        wrong = "row offsets that do not ascend from 0 to the number of sparse entries"
    elif X.values is not None and len(X.values) != len(X.indices):
        wrong = f"{len(X.values)} values for {len(X.indices)} indices"
    elif len(X.indices) and not X.n_dense <= int(X.indices.min()) <= int(X.indices.max()) < X.n_columns:
        wrong = f"indices from {X.indices.min()} to {X.indices.max()}, needed {X.n_dense} to {X.n_columns - 1}"
    elif X.n_dense > X.n_columns:
        wrong = f"{X.n_dense} dense columns of {X.n_columns}"
    if wrong is not None:
        raise StoreError(f"{path} holds {wrong}; ingest the store again")
    check_block(path, block, entry)


def _map(store: Path, entry: FileEntry) -> tuple[pa.RecordBatch, Mapping]:
    """Map a file that holds one record batch, after checking its size and checksum."""
    check_size(store, entry)
    path = store / entry.file
    try:
        mapping = Mapping(path)
    except (OSError, ValueError) as error:  # ValueError: an empty file
        raise StoreError(f"{path} cannot be read: {error}") from error
    buffer = pa.py_buffer(mapping.buffer)
    found = checksum(memoryview(buffer))
    if found != entry.checksum:
        raise StoreError(
            f"{path} was altered: its checksum is {found}, expected {entry.checksum}; "
            "restore the file from a copy, or ingest the store again"
        )
    try:
        reader = pa.ipc.open_file(buffer)
        if reader.num_record_batches != 1:
            raise StoreError(f"{path} holds {reader.num_record_batches} record batches, needed 1")
        refuse_compressed(path, buffer)
        batch = reader.get_batch(0)
        batch.validate()
        return batch, mapping
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{path} is not an Arrow file: {error}; ingest the store again") from None


def check_size(store: Path, entry: FileEntry) -> None:
    """See that the file is there with its size."""
    path = store / entry.file
    try:
        status = path.stat()
    except OSError:
        raise StoreError(f"{path} is missing; restore it from a copy, or ingest the store again") from None
    if not stat.S_ISREG(status.st_mode):
        raise StoreError(f"{path} is not a plain file; restore it from a copy, or ingest the store again")
    size = status.st_size
    if size != entry.size:
        raise StoreError(
            f"{path} has {size:,} bytes, expected {entry.size:,}: it was truncated or replaced; "
            "restore it from a copy, or ingest the store again"
        )


def _table_bytes(table: FeatureTable) -> memoryview:
    columns = {"id": table.ids, "count": table.count, "sum": table.total, "squares": table.squares}
    return _ipc_bytes(pa.record_batch({name: pa.array(array) for name, array in columns.items()}))


def read_table(store: Path, manifest: Manifest) -> FeatureTable:
    """The table of features, checked."""
    entry = manifest.table
    batch, _ = _map(store, entry)
    try:
        arrays = [batch.column(name).to_numpy(zero_copy_only=True) for name in ("id", "count", "sum", "squares")]
    except (KeyError, pa.ArrowException) as error:
        raise StoreError(f"{store / entry.file} is not a table of features: {error}; ingest the store again") from None
    table = FeatureTable(*arrays)
    check_table(store / entry.file, table, manifest.n_occurring, manifest.n_features)
    return table


def _ipc_bytes(batch: pa.RecordBatch) -> memoryview:
    counted = pa.MockOutputStream()  # a stream that grows would hold the bytes up to three times while it does
    _write_ipc(counted, batch)
    buffer = pa.allocate_buffer(counted.size())
    _write_ipc(pa.FixedSizeBufferWriter(buffer), batch)
    return memoryview(buffer)


def _write_ipc(sink: Any, batch: pa.RecordBatch) -> None:
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)


def _label_counts(y: NDArray[np.float64] | None) -> tuple[tuple[float, int], ...] | None:
    if y is None or y.ndim > 1:
        return None
    values, counts = np.unique(y, return_counts=True)
    if len(values) > _FEW_LABELS:
        return None
    return tuple((float(v), int(c)) for v, c in zip(values, counts, strict=True))
