"""Stores that may be anyone's: refused with their path, or used as what they say; nothing is written elsewhere."""

import contextlib
import os
import pickle  # noqa: TID251 - to see that such a file is not read
import struct

import numpy as np
import pyarrow as pa
import pytest
from forged_stores import put, put_file, read_all, refuse, reseal, store_with_everything

from blockdot.blocks.manifest import MANIFEST
from blockdot.errors import StoreError

pytestmark = pytest.mark.timeout(60)  # a pipe that is waited for would take for ever


@pytest.fixture
def stored(tmp_path):
    return store_with_everything(tmp_path)


BLOCK, TABLE = "blocks/part-00001.arrow", "features.arrow"


def columns_of(path, file):
    batch = pa.ipc.open_file(path / file).get_batch(0)
    return {name: batch.column(name) for name in batch.schema.names}


def rewrite(path, file, columns, **options):
    sink = pa.BufferOutputStream()
    batch = pa.record_batch(columns)
    with pa.ipc.new_file(sink, batch.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_batch(batch)
    put_file(path, file, sink.getvalue().to_pybytes())


# --- stores whose checksums agree ---


def altered(name, change):
    def columns(found):
        values = found[name].to_numpy(zero_copy_only=False).copy()
        return found | {name: pa.array(change(values))}

    return columns


def with_indices(change):
    def columns(found):
        rows = found["indices"]
        indices = change(rows.values.indices.to_numpy().copy(), rows.offsets.to_numpy())
        coded = pa.DictionaryArray.from_arrays(pa.array(indices), rows.values.dictionary, safe=False)
        return found | {"indices": pa.ListArray.from_arrays(rows.offsets, coded)}

    return columns


def swapped(indices, offsets):
    row = int(np.flatnonzero(np.diff(offsets) >= 2)[0])
    place = offsets[row]
    indices[[place, place + 1]] = indices[[place + 1, place]]
    return indices


def repeated(indices, offsets):
    row = int(np.flatnonzero(np.diff(offsets) >= 2)[0])
    indices[offsets[row] + 1] = indices[offsets[row]]
    return indices


def with_columns(change):
    def columns(found):
        rows = found["indices"]
        ids = change(rows.values.dictionary.to_numpy().copy())
        coded = pa.DictionaryArray.from_arrays(rows.values.indices, pa.array(ids))
        return found | {"indices": pa.ListArray.from_arrays(rows.offsets, coded)}

    return columns


HARM = {
    "indices that descend": (BLOCK, with_indices(swapped), "do not ascend"),
    "an index twice": (BLOCK, with_indices(repeated), "do not ascend"),
    "an index in the dense columns": (BLOCK, with_indices(lambda i, _: put(0, 0)(i)), "indices"),
    "an index too large": (BLOCK, with_indices(lambda i, _: put(-1, 2**32 - 1)(i)), "4294967295"),
    "a feature twice in a block": (BLOCK, with_columns(lambda c: put(1, c[0])(c)), "two columns of a block"),
    "a feature that is not in the table": (BLOCK, with_columns(put(1, 10**12)), "not among"),
    "a negative feature": (BLOCK, with_columns(put(1, -5)), "not among"),
    "NaN as a target": (BLOCK, altered("y", put(3, np.nan)), "not finite"),
    "an infinite offset": (BLOCK, altered("offset", put(3, np.inf)), "not finite"),
    "a negative weight": (BLOCK, altered("weight", put(3, -1e-3)), "negative weights"),
    "other weights": (BLOCK, altered("weight", lambda w: w * 2), "the manifest says"),
    "a negative row id": (BLOCK, altered("row_id", put(3, -1)), "row ids that are negative"),
    "row ids that are floats": (BLOCK, altered("row_id", lambda a: a.astype(float)), "row ids"),
    "targets that are integers": (BLOCK, altered("y", lambda a: a.astype(np.int64)), "not float64"),
    "targets that are text": (BLOCK, altered("y", lambda a: a.astype(str)), "is not a block"),
    "a table with a feature twice": (TABLE, altered("id", lambda a: put(1, a[0])(a)), "a feature twice"),
    "a table with a negative feature": (TABLE, altered("id", put(1, -1)), "feature ids from -1"),
    "a table with a feature too large": (TABLE, altered("id", put(1, 2**60)), "needed 0 to 11"),
    "a table with NaN": (TABLE, altered("sum", put(1, np.nan)), "not finite"),
    "a table in another order": (TABLE, altered("count", put(-1, 10**6)), "not in the order of their counts"),
    "a table with a feature that has no row": (TABLE, altered("count", put(-1, 0)), "or have none"),
    "a table of other types": (TABLE, altered("id", lambda a: a.astype(float)), "columns of the types float64"),
    "a table that is too short": (TABLE, lambda found: {n: c[:-1] for n, c in found.items()}, "11 features"),
}  # fmt: skip


@pytest.mark.parametrize("harm", HARM)
def test_a_store_that_agrees_with_its_checksums_and_not_with_itself(stored, harm):
    file, change, words = HARM[harm]
    rewrite(stored, file, change(columns_of(stored, file)))
    refuse(stored, stored / file, words)


def test_a_value_that_is_not_finite(stored):
    found = columns_of(stored, BLOCK)
    values = found["values"].values.to_numpy().copy()
    values[5] = np.inf
    changed = pa.ListArray.from_arrays(found["values"].offsets, pa.array(values))
    rewrite(stored, BLOCK, found | {"values": changed})
    refuse(stored, stored / BLOCK, "not finite")


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
@pytest.mark.parametrize("file", [BLOCK, TABLE])
def test_compressed_files_are_not_expanded(stored, file, codec):
    rewrite(stored, file, columns_of(stored, file), compression=codec)
    refuse(stored, stored / file, "is compressed")


def test_a_store_that_would_fill_the_memory(stored):
    """800 MB of zeros in some 30 kB: seen before they are expanded."""
    found = columns_of(stored, TABLE)
    huge = pa.array(np.zeros(10**8))
    sink = pa.BufferOutputStream()
    batch = pa.record_batch({"id": pa.array(np.zeros(10**8, np.int64)), "count": huge, "sum": huge, "squares": huge})
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    del batch, huge, found
    put_file(stored, TABLE, sink.getvalue().to_pybytes())
    assert (stored / TABLE).stat().st_size < 2**20
    before = pa.total_allocated_bytes()
    refuse(stored, stored / TABLE, "is compressed")
    assert pa.default_memory_pool().max_memory() - before < 2**33
    assert pa.total_allocated_bytes() - before < 2**20


@pytest.mark.parametrize("at", range(0, 64, 5))
def test_headers_that_point_anywhere(stored, at):
    """The end of an Arrow file says where its parts are: numbers there may be anything."""
    good = (stored / BLOCK).read_bytes()
    for value in (0, 1, 2**31 - 1, 2**32 - 1):
        place = len(good) - 10 - at
        put_file(stored, BLOCK, good[:place] + struct.pack("<I", value) + good[place + 4 :])
        with contextlib.suppress(StoreError):
            read_all(stored)
            continue
        refuse(stored, stored / BLOCK)


# --- manifests ---


def text_of(change):
    def harm(path):
        file = path / MANIFEST
        file.write_text(change(file.read_text()))

    return harm


MANIFESTS = {
    "nested without end": text_of(lambda text: "[" * 200_000),
    "nested objects": text_of(lambda text: '{"a":' * 100_000),
    "a number without end": text_of(lambda text: text.replace('"rows": 300', f'"rows": {"9" * 10_000}')),
    "a number beyond 2^63": lambda path: reseal(path, lambda m: m.update(n_features=2**70)),
    "a negative number": text_of(lambda text: text.replace('"rows": 300', '"rows": -300')),
    "a fraction": text_of(lambda text: text.replace('"rows": 300', '"rows": 300.5')),
    "NaN": text_of(lambda text: text.replace('"rows": 300', '"rows": NaN')),
    "infinity as a weight": text_of(lambda text: text.replace('"weight": ', '"weight": 1e999, "was": ', 1)),
    "a key twice": text_of(lambda text: text.replace('"rows": 300', '"rows": 1, "rows": 300', 1)),
    "bytes that are no text": lambda path: (path / MANIFEST).write_bytes(b'{"rows": "\xff\xfe"}'),
    "rows that do not add up": lambda path: reseal(path, lambda m: m.update(rows=301)),
    "non-zeros that do not add up": lambda path: reseal(path, lambda m: m.update(nnz=1)),
    "a pickle": lambda path: (path / MANIFEST).write_bytes(pickle.dumps({"rows": 3})),
    "a folder": lambda path: ((path / MANIFEST).unlink(), (path / MANIFEST).mkdir()),
    "a pipe": lambda path: ((path / MANIFEST).unlink(), os.mkfifo(path / MANIFEST)),
    "a device": lambda path: ((path / MANIFEST).unlink(), (path / MANIFEST).symlink_to("/dev/zero")),
    "two gigabytes of nothing": lambda path: os.truncate(path / MANIFEST, 2**31),
}  # fmt: skip


@pytest.mark.parametrize("harm", MANIFESTS)
def test_a_hostile_manifest(stored, harm):
    MANIFESTS[harm](stored)
    refuse(stored, stored / MANIFEST)


@pytest.mark.parametrize("file", [BLOCK, TABLE])
def test_a_pipe_or_a_device_in_the_place_of_a_file(stored, file):
    (stored / file).unlink()
    os.mkfifo(stored / file)
    refuse(stored, stored / file, "not a plain file")
    (stored / file).unlink()
    (stored / file).symlink_to("/dev/zero")
    refuse(stored, stored / file, "not a plain file")


def test_a_link_in_a_store_is_read_if_it_leads_to_the_right_bytes(stored, tmp_path):
    """As those of a cache of data sets do; to other bytes it is a damaged file."""
    elsewhere = tmp_path / "cache"
    (stored / BLOCK).rename(elsewhere)
    (stored / BLOCK).symlink_to(elsewhere)
    read_all(stored)
    elsewhere.write_bytes(b"x" * elsewhere.stat().st_size)
    refuse(stored, stored / BLOCK, "was altered")


@pytest.mark.parametrize("name", ["../../x.arrow", "/etc/passwd", "blocks/../../x.arrow", "", ".", "blocks/\x00.arrow"])
def test_names_that_lead_out_of_the_store(stored, name):
    reseal(stored, lambda m: m["blocks"][1].update(file=name))
    refuse(stored, stored)
