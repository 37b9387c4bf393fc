"""A prediction set: one Parquet part for each block, and a manifest (``_manifest.json``) written last.

    file, line      where the row stands in the raw files (from 1); for arrays ``line`` is the place of the row, from 0
    label           the row's label, where it has one
    prediction      the class, or the number that a regression expects
    probability     of the second class; of more than two classes one column each, ``probability_CLASS``
    score           z, for a classifier that knows no probabilities

Rows that can have any number of labels have a column for each: ``label_NAME`` and ``prediction_NAME``, 0 or 1, and
``probability_NAME``.

The parts are collected beside the directory under a key of their inputs. A run that was cut off goes on with the parts
that are there; another key starts afresh. The directory gets its name when the manifest is in it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from blockdot import atomic
from blockdot.blocks.block import Block
from blockdot.blocks.dataset import Dataset
from blockdot.blocks.layout import Layout
from blockdot.blocks.manifest import checksum, read_json
from blockdot.blocks.tree import Pool
from blockdot.errors import StoreError
from blockdot.ingest.rows import LINE_BITS
from blockdot.jobs.run_directory import as_json, file_digest
from blockdot.models.model import Model
from blockdot.objective.passes import raw
from blockdot.vectors import Vector

MANIFEST = "_manifest.json"  # readers of Parquet folders pass over names that begin with an underscore


@dataclass(frozen=True)
class ScorePass:
    """A block's predictions as the bytes of a Parquet file: made on the worker, written by the driver."""

    model: Model
    files: tuple[str, ...]

    @property
    def layout(self) -> Layout:
        return self.model.predictor.layout

    def __call__(self, block: Block, w: Vector) -> bytes:
        table = self._table(block, raw(self.model.predictor, block, w))
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        return bytes(sink.getvalue())

    def _table(self, block: Block, z: Vector) -> pa.Table:
        columns: dict[str, pa.Array] = {}
        if block.row_id is not None:
            if self.files:
                place = pa.array((block.row_id >> LINE_BITS).astype(np.int32))
                columns["file"] = pa.DictionaryArray.from_arrays(place, pa.array(self.files))
            columns["line"] = pa.array(block.row_id & ((1 << LINE_BITS) - 1))
        outcome, names = self.model.outcome, self.model.class_labels
        if block.y is not None:
            columns |= self._columns("label", outcome.named(block.y, names))
        columns |= self._columns("prediction", outcome.decide(z, names))
        for name, array in outcome.certainty(z).items():
            columns |= self._columns(name, array)
        return pa.table(columns)

    def _columns(self, name: str, array: NDArray[Any]) -> dict[str, pa.Array]:
        """One column, or one for each class."""
        if array.ndim == 1:
            return {name: pa.array(array)}
        return {f"{name}_{c}": pa.array(array[:, i]) for i, c in enumerate(self.model.class_labels)}


def write_predictions(
    model: Model, data: Dataset, path: Path, pool: Pool, key: str, tick: Callable[[int], None] = lambda _: None
) -> str:
    """Score every row of ``data`` into the directory ``path``; the checksum of its manifest.

    ``key`` stands for model and data: parts that an interrupted call with the same key left are kept. ``tick`` is
    called with the number of parts that are done.
    """
    aside = path.with_name(f".{path.name}.partial")
    _prepare(aside, key)
    parts = [f"part-{i:05d}.parquet" for i in range(data.n_blocks)]
    missing = [i for i, name in enumerate(parts) if not (aside / name).exists()]
    tick(len(parts) - len(missing))
    with data.on(pool) as blocks:
        scored = blocks.map(ScorePass(model, data.files), model.parameters(data), ids=missing)
        for done, (i, content) in enumerate(zip(missing, scored, strict=True), 1):
            atomic.write_file(aside / parts[i], content)
            tick(len(parts) - len(missing) + done)
    entries = [{"file": name, "checksum": checksum((aside / name).read_bytes())} for name in parts]
    content = as_json({"format": "blockdot-predictions", "version": 1, "rows": data.n_rows, "parts": entries})
    atomic.write_file(aside / MANIFEST, content)
    (aside / "key").unlink()
    atomic.rename_directory(aside, path)
    return checksum(content)


def verified(path: Path) -> str:
    """The checksum of the manifest of a prediction set, whose parts are all there and unchanged; else StoreError."""
    content = read_json(path / MANIFEST) if (path / MANIFEST).exists() else {"parts": [{"file": MANIFEST}]}
    try:
        parts = [(str(entry["file"]), entry.get("checksum", "")) for entry in content["parts"]]
    except (KeyError, TypeError, AttributeError):
        raise StoreError(f"{path / MANIFEST} does not list parts; run the stage predict again") from None
    for name, expected in parts:
        if Path(name).name != name or not expected:
            raise StoreError(f"{path / MANIFEST} lists the strange part {name!r}; run the stage predict again")
        if file_digest(path / name) != expected:
            raise StoreError(f"{path / name} is missing or was altered; run the stage predict again")
    return checksum((path / MANIFEST).read_bytes())


def _prepare(aside: Path, key: str) -> None:
    try:
        if aside.exists() and (aside / "key").read_text() == key:
            atomic.sweep(aside)
            return
    except OSError:
        pass
    try:
        if aside.exists():
            shutil.rmtree(aside)
        aside.mkdir(parents=True)
    except OSError as error:
        raise atomic.write_error(aside, error) from error
    atomic.write_file(aside / "key", key.encode())
