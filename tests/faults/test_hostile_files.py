"""Files that lie: stores, models, prediction sets, archives and job specs that may be anyone's.

Each is refused with its path, or means what it says; nothing is unpickled, nothing grows without bound, no pipe is
waited for, and nothing is written where it should not be.
"""

import bz2
import contextlib
import gzip
import json
import os
import pickle  # noqa: TID251 - to see that such a file is not read
import struct
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy

import blockdot as bd
from blockdot.blocks import opened
from blockdot.blocks.dataset import Dataset
from blockdot.blocks.manifest import MANIFEST, FileEntry, Manifest, checksum
from blockdot.blocks.store import verify_store
from blockdot.errors import BlockdotError, DataError, SpecError, StoreError
from blockdot.ingest import files
from blockdot.jobs.predictions import verified
from blockdot.jobs.run_directory import RunDirectory
from blockdot.jobs.spec import load_job
from blockdot.models.model import MODEL, WEIGHTS, load_model

pytestmark = pytest.mark.timeout(60)  # a pipe that is waited for would take for ever


@pytest.fixture
def stored(tmp_path):
    """A store of three blocks with everything in it: dense columns, values, weights, offsets."""
    rng = np.random.default_rng(7)
    n = 300
    X = rng.normal(size=(n, 12)) * (rng.random((n, 12)) < np.linspace(0.1, 0.9, 12))
    data = Dataset.from_arrays(X, rng.integers(0, 2, n), rng.random(n) + 0.1, rng.normal(size=n), block_rows=100)
    assert data.source.block(0).X.n_dense > 0
    return data.save(tmp_path / "rows.blocks").path


def read_all(path):
    opened._open.cache_clear()
    data = Dataset.open(path)
    for i in range(data.n_blocks):
        data.source.block(i)


def refused(path, *words):
    with pytest.raises(StoreError) as caught:
        read_all(path)
    for text in (str(caught.value), "\n".join(verify_store(path))):
        for word in words:
            assert str(word) in text


def reseal(path, change):
    """Rewrite the manifest with a right digest, as an attacker would."""
    stated = json.loads((path / MANIFEST).read_bytes())
    change(stated)
    stated.pop("digest", None)
    (path / MANIFEST).write_bytes(Manifest.model_validate(stated).sealed().to_json())


def put_file(path, file, data):
    """Replace a file of a store, with a manifest that agrees."""
    (path / file).write_bytes(data)

    def change(stated):
        for entry in (stated["table"], *stated["blocks"]):
            if entry["file"] == file:
                entry.update(FileEntry.of(file, data).model_dump())

    reseal(path, change)


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


def put(place, value):
    def change(values):
        values[place] = value
        return values

    return change


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
    "a table of other types": (TABLE, altered("id", lambda a: a.astype(float)), "columns of the types float64"),
    "a table that is too short": (TABLE, lambda found: {n: c[:-1] for n, c in found.items()}, "11 features"),
}  # fmt: skip


@pytest.mark.parametrize("harm", HARM)
def test_a_store_that_agrees_with_its_checksums_and_not_with_itself(stored, harm):
    file, change, words = HARM[harm]
    rewrite(stored, file, change(columns_of(stored, file)))
    refused(stored, stored / file, words)


def test_a_value_that_is_not_finite(stored):
    found = columns_of(stored, BLOCK)
    values = found["values"].values.to_numpy().copy()
    values[5] = np.inf
    changed = pa.ListArray.from_arrays(found["values"].offsets, pa.array(values))
    rewrite(stored, BLOCK, found | {"values": changed})
    refused(stored, stored / BLOCK, "not finite")


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
@pytest.mark.parametrize("file", [BLOCK, TABLE])
def test_compressed_files_are_not_expanded(stored, file, codec):
    rewrite(stored, file, columns_of(stored, file), compression=codec)
    refused(stored, stored / file, "is compressed")


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
    refused(stored, stored / TABLE, "is compressed")
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
        refused(stored, stored / BLOCK)


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
    refused(stored, stored / MANIFEST)


@pytest.mark.parametrize("file", [BLOCK, TABLE])
def test_a_pipe_or_a_device_in_the_place_of_a_file(stored, file):
    (stored / file).unlink()
    os.mkfifo(stored / file)
    refused(stored, stored / file, "not a plain file")
    (stored / file).unlink()
    (stored / file).symlink_to("/dev/zero")
    refused(stored, stored / file, "not a plain file")


def test_a_link_in_a_store_is_read_if_it_leads_to_the_right_bytes(stored, tmp_path):
    """As those of a cache of data sets do; to other bytes it is a damaged file."""
    elsewhere = tmp_path / "cache"
    (stored / BLOCK).rename(elsewhere)
    (stored / BLOCK).symlink_to(elsewhere)
    read_all(stored)
    elsewhere.write_bytes(b"x" * elsewhere.stat().st_size)
    refused(stored, stored / BLOCK, "was altered")


@pytest.mark.parametrize("name", ["../../x.arrow", "/etc/passwd", "blocks/../../x.arrow", "", ".", "blocks/\x00.arrow"])
def test_names_that_lead_out_of_the_store(stored, name):
    reseal(stored, lambda m: m["blocks"][1].update(file=name))
    refused(stored, stored)


# --- models ---


@pytest.fixture
def saved(tmp_path):
    X = np.random.default_rng(0).normal(size=(50, 4))
    est = bd.LogisticRegression(alpha=1e-2).fit(X, np.where(X[:, 0] > 0, "yes", "no"))
    est.model_.save(tmp_path / "model")
    return tmp_path / "model"


def model_refused(path, *words):
    with pytest.raises(StoreError) as caught:
        load_model(path)
    for word in (path, *words):
        assert str(word) in str(caught.value)


def described(change):
    """Change model.json; the checksum in it stays that of the weights."""

    def harm(path):
        content = json.loads((path / MODEL).read_text())
        change(content)
        (path / MODEL).write_text(json.dumps(content))

    return harm


def model(**values):
    return described(lambda content: content["model"].update(values))


def weighed(data):
    """Other weights, with a model.json that agrees."""

    def harm(path):
        content = data(path)
        (path / WEIGHTS).write_bytes(content)
        described(lambda m: m.update(weights=checksum(content)))(path)

    return harm


def tensors(**changes):
    def data(path):
        arrays = safetensors.numpy.load((path / WEIGHTS).read_bytes())
        return safetensors.numpy.save(arrays | {name: change(arrays) for name, change in changes.items()})

    return weighed(data)


def header(change):
    """Other safetensors headers, before the same numbers."""

    def data(path):
        content = (path / WEIGHTS).read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        head = change(json.loads(content[8 : 8 + length]))
        text = head if isinstance(head, bytes) else json.dumps(head).encode()
        return struct.pack("<Q", len(text)) + text + content[8 + length :]

    return weighed(data)


def offsets(head, name, start, stop):
    head[name]["data_offsets"] = [start, stop]
    return head


MODELS = {
    "not JSON": lambda path: (path / MODEL).write_text("{"),
    "nested without end": lambda path: (path / MODEL).write_text("[" * 200_000),
    "a list": lambda path: (path / MODEL).write_text("[]"),
    "a key twice": lambda path: (path / MODEL).write_text((path / MODEL).read_text().replace("{", '{"model": 1,', 1)),
    "NaN": model(target_mean=float("nan")),
    "an unknown key": model(more=1),
    "another format": model(format="blockdot-store"),
    "another version": model(version=99),
    "an unknown loss": model(loss="os.system"),
    "an unknown option": model(options={"__class__": 1}),
    "outputs that are none": model(loss="softmax", options={"outputs": "many"}),
    "outputs that are a fraction": model(loss="softmax", options={"outputs": 1.5}),
    "very many outputs": model(loss="softmax", options={"outputs": 10**12}),
    "three labels for two classes": model(labels=[0.0, 1.0, 2.0]),
    "three classes for two labels": model(classes=["a", "b", "c"]),
    "labels for a regression": model(loss="squared"),
    "shares of other classes": model(class_shares=[1.0]),
    "no features": model(n_features=0),
    "a negative width": model(n_features=-4),
    "no checksum": described(lambda content: content.pop("weights")),
    "weights of another model": lambda path: (path / WEIGHTS).write_bytes((path / WEIGHTS).read_bytes()[:-1] + b"x"),
    "no weights": lambda path: (path / WEIGHTS).unlink(),
    "a pipe": lambda path: ((path / WEIGHTS).unlink(), os.mkfifo(path / WEIGHTS)),
    "an empty file": weighed(lambda path: b""),
    "a header longer than the file": weighed(lambda path: struct.pack("<Q", 2**62) + (path / WEIGHTS).read_bytes()[8:]),
    "a header of 200 MB": weighed(lambda path: struct.pack("<Q", 200 * 2**20) + b" " * (200 * 2**20)),
    "a header that is not JSON": header(lambda head: b"{" * 100),
    "a header nested without end": header(lambda head: b"[" * 100_000),
    "offsets outside the file": header(lambda head: offsets(head, "coef", 0, 10**9)),
    "offsets that descend": header(lambda head: offsets(head, "coef", 64, 0)),
    "negative offsets": header(lambda head: offsets(head, "coef", -64, 0)),
    "a shape beyond the numbers": header(lambda head: head | {"coef": head["coef"] | {"shape": [2**62, 4]}}),
    "a type that NumPy lacks": header(lambda head: head | {"coef": head["coef"] | {"dtype": "BF16"}}),
    "a type that nobody knows": header(lambda head: head | {"coef": head["coef"] | {"dtype": "O"}}),
    "no coefficients": header(lambda head: {k: v for k, v in head.items() if k != "coef"}),
    "a pickle": weighed(lambda path: pickle.dumps({"coef": [1.0]})),
    "NaN as a coefficient": tensors(coef=lambda a: a["coef"] * np.nan),
    "an infinite intercept": tensors(tail=lambda a: a["tail"] + np.inf),
    "coefficients of one feature less": tensors(coef=lambda a: a["coef"][:-1].copy()),
    "ids that descend": tensors(ids=lambda a: a["ids"][::-1].copy()),
    "an id twice": tensors(ids=lambda a: np.array([0, 1, 1, 3])),
    "an id beyond the width": tensors(ids=lambda a: np.array([0, 1, 2, 4])),
    "a negative id": tensors(ids=lambda a: np.array([-1, 1, 2, 3])),
    "coefficients of another type": tensors(coef=lambda a: a["coef"].astype(np.float32)),
    "a matrix of coefficients": tensors(coef=lambda a: np.ones((4, 2))),
}  # fmt: skip


@pytest.mark.parametrize("harm", MODELS)
def test_a_hostile_model(saved, harm):
    MODELS[harm](saved)
    model_refused(saved)


def test_nothing_is_ever_unpickled(saved, stored, tmp_path):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sprung",)

    trap = pickle.dumps(Trap())
    pickle.loads(trap)  # noqa: S301 - it works
    (tmp_path / "sprung").unlink()
    for path in (saved / MODEL, saved / WEIGHTS):
        good = path.read_bytes()
        weighed(lambda _: trap)(saved) if path.name == WEIGHTS else path.write_bytes(trap)
        model_refused(saved)
        path.write_bytes(good)
    for file in (BLOCK, TABLE):
        before = (stored / file).read_bytes()
        put_file(stored, file, trap)
        refused(stored, stored / file)
        put_file(stored, file, before)
    (stored / MANIFEST).write_bytes(trap)
    refused(stored)
    assert not (tmp_path / "sprung").exists()


def test_a_feature_spec_in_a_model_that_is_none(saved, tmp_path):
    model(features={"data": {"format": "svmlight", "block_bytes": 10**30}})(saved)
    raw = tmp_path / "x.svm"
    raw.write_text("1 1:1\n")
    with pytest.raises(BlockdotError, match="block_bytes"):
        load_model(saved).predict(raw)


# --- prediction sets and receipts ---


@pytest.mark.parametrize(
    "content",
    ["[]", "{}", '{"parts": 3}', '{"parts": [3]}', '{"parts": [{}]}', '{"parts": [{"file": "../../x"}]}',
     '{"parts": [{"file": "/etc/passwd", "checksum": ""}]}', "{", "[" * 100_000, '{"parts": [{"file": "pipe"}]}'],
)  # fmt: skip
def test_a_hostile_prediction_set(content, tmp_path):
    (tmp_path / "_manifest.json").write_text(content)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreError, match=str(tmp_path)):
        verified(tmp_path)


@pytest.mark.parametrize("content", ["[]", "3", "{", "[" * 100_000, '{"key": NaN}', '{"key": 1, "key": 2}'])
def test_a_hostile_receipt_is_none(content, tmp_path):
    directory = RunDirectory(tmp_path)
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/fit.json").write_text(content)
    assert directory.receipt("fit") == {}


# --- archives ---


def zipped(path, data, **changes):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(changes.get("name", "x.svm"), data)
    return path


def lying_zip(path, data, size):
    """A zip whose directory says another size than the data have."""
    zipped(path, data)
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = content.index(mark) + offset
        content[at : at + 4] = struct.pack("<I", size)
    path.write_bytes(content)
    return path


ROW = b"1 1:1 2:1\n"


def ingested(path, tmp_path, **options):
    return bd.ingest(path, tmp_path / "out.blocks", **options)


def bomb(path, rows):
    if path.suffix == ".zip":
        zipped(path, ROW * rows)
    else:
        path.write_bytes((gzip if path.suffix == ".gz" else bz2).compress(ROW * rows))
    return path


@pytest.fixture
def strict(monkeypatch):
    """Small files, too, may grow only so many times."""
    monkeypatch.setattr(files, "_ALWAYS", 1 << 16)


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".zip"])
def test_a_file_that_grows_without_measure(suffix, strict, tmp_path):
    path = bomb(tmp_path / f"rows.svm{suffix}", 100_000)
    with pytest.raises(DataError, match="taken for a trap") as caught:
        ingested(path, tmp_path)
    assert str(path) in str(caught.value)
    assert "max_expansion" in str(caught.value)
    assert not (tmp_path / "out.blocks").exists()
    assert ingested(path, tmp_path, data={"max_expansion": 10**6}).n_rows == 100_000


def test_the_limit_itself(tmp_path):
    path = bomb(tmp_path / "rows.svm.gz", 8_000_000)
    with pytest.raises(DataError, match=r"become 67,\d+,\d+ or more"):
        ingested(path, tmp_path)


def test_a_small_file_may_grow_as_it_likes(tmp_path):
    path = tmp_path / "rows.svm.gz"
    path.write_bytes(gzip.compress(ROW * 200_000))
    assert 2_000_000 / path.stat().st_size > 200
    assert ingested(path, tmp_path).n_rows == 200_000


@pytest.mark.parametrize("size", [1, 11, 2**32 - 2])
def test_a_zip_that_lies_about_its_size(size, tmp_path):
    path = lying_zip(tmp_path / "rows.svm.zip", ROW * 3, size)
    with pytest.raises(DataError, match=r"rows\.svm\.zip"):
        ingested(path, tmp_path)


@pytest.mark.parametrize("name", ["../../x.svm", "/etc/x.svm", "C:\\x.svm", "a\x1b[2Jb.svm"])
def test_names_in_an_archive_lead_nowhere(name, tmp_path):
    before = set(tmp_path.parent.iterdir())
    path = zipped(tmp_path / "rows.svm.zip", ROW * 3, name=name)
    data = ingested(path, tmp_path)
    assert data.n_rows == 3
    assert data.files == ("rows.svm.zip",)
    assert set(tmp_path.parent.iterdir()) == before


def test_an_encrypted_or_strangely_compressed_archive(tmp_path):
    path = zipped(tmp_path / "rows.svm.zip", ROW)
    good = path.read_bytes()
    for offset, value, words in ((8, 1, "encrypted"), (10, 99, "compression")):
        content = bytearray(good)
        for mark, shift in ((b"PK\x03\x04", -2), (b"PK\x01\x02", 0)):
            at = content.index(mark) + offset + shift
            content[at : at + 2] = struct.pack("<H", value)
        path.write_bytes(content)
        with pytest.raises(DataError, match=words):
            ingested(path, tmp_path)


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2", ".zip"])
@pytest.mark.parametrize("format", ["svmlight", "csv"])
def test_a_line_without_an_end(suffix, format, tmp_path):
    data = b"x\n" * (format == "csv") + b"1 1:1\n" + b"1" * 3000
    path = tmp_path / f"rows{suffix}"
    if suffix == ".zip":
        zipped(path, data)
    elif suffix:
        path.write_bytes((gzip if suffix == ".gz" else bz2).compress(data))
    else:
        path.write_bytes(data)
    more = {"features": {"hashed": ["x"]}} if format == "csv" else {}
    with pytest.raises(DataError, match=r"a line is longer than 2,000 bytes.*max_line_bytes"):
        ingested(path, tmp_path, format=format, data={"max_line_bytes": 2000, "block_bytes": 8}, **more)


def test_a_parquet_file_that_claims_very_many_rows(strict, tmp_path):
    """A run of equal values takes no room: two million rows in some kilobytes."""
    path = tmp_path / "rows.parquet"
    zeros = pa.array(np.zeros(2 * 10**6, np.int8))
    pq.write_table(pa.table({"x": zeros, "y": zeros}), path, row_group_size=10**7)
    options = {"format": "parquet", "label": "y", "features": {"numeric": ["x"]}}
    with pytest.raises(DataError, match="taken for a trap"):
        ingested(path, tmp_path, data={"max_expansion": 50}, **options)
    data = ingested(path, tmp_path, **options)
    assert data.n_rows == 2 * 10**6
    assert max(data.source.block(i).n_rows for i in range(data.n_blocks)) <= 2**20, "a block is no larger for it"


def test_a_header_of_very_many_columns(tmp_path):
    path = tmp_path / "rows.csv"
    names = ",".join(f"c{i}" for i in range(200_000))
    path.write_text(f"y,{names},c7\n")
    with pytest.raises(DataError, match="'c7' twice"):
        ingested(path, tmp_path, format="csv", label="y", features={"numeric": ["c0"]})


def test_labels_that_are_very_long_numbers(tmp_path):
    """A pattern that can read a text in many ways would take hours."""
    path = tmp_path / "rows.csv"
    path.write_text("y,x\n" + "1" * 400_000 + "x,1\n0,2\n")
    with pytest.raises(DataError, match=r"rows\.csv:2"):
        ingested(path, tmp_path, format="csv", label={"column": "y", "text": False}, features={"numeric": ["x"]})
    with pytest.raises(SpecError, match="the rule"):
        ingested(path, tmp_path, format="csv", label={"column": "y", "rule": "> " + " " * 300_000 + "x"})


@pytest.mark.parametrize(
    ("what", "words"),
    [("pipe", "not a plain file"), ("/dev/zero", "not a plain file"), ("https://host/x.svm", "is a URL"),
     ("s3://bucket/x.svm", "is a URL"), ("package:numpy/../../x", "outside the package"),
     ("a\0b", "is no path")],
)  # fmt: skip
def test_inputs_that_are_no_files(what, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SpecError, match=words):
        ingested(what, tmp_path)


def test_a_file_name_that_is_not_utf8(tmp_path):
    path = os.fsencode(tmp_path) + b"/rows\xff.svm"
    Path(os.fsdecode(path)).write_bytes(ROW)
    with pytest.raises(SpecError, match="not UTF-8"):
        ingested(os.fsdecode(path), tmp_path)


# --- job specs ---

SPEC = '[job]\nname = "t"\n{}[data]\nformat = "svmlight"\ntrain = "a.svm"\n[model]\nkind = "logistic"\n'


def spec_with(tmp_path, output):
    path = tmp_path / "job.toml"
    path.write_text(SPEC.format(output))
    return path


@pytest.mark.parametrize("output", ["../elsewhere", "runs/../../elsewhere", "/tmp/elsewhere", "a/../../../b"])
def test_an_output_that_leads_out_of_the_folder(output, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = spec_with(tmp_path, f'output = "{output}"\n')
    with pytest.raises(SpecError, match="leads out of the folder") as caught:
        load_job(spec)
    assert "--set job.output=" in str(caught.value)
    assert load_job(spec, [f"job.output={output}"]).output == Path(output), "what is typed is meant"


def test_an_output_behind_a_link_that_leads_out_of_the_folder(tmp_path, monkeypatch):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    spec = spec_with(here, "")
    (here / "runs").symlink_to(there)
    with pytest.raises(SpecError, match="leads out of the folder"):
        load_job(spec)
    (here / "runs").unlink()
    (here / "runs").symlink_to("runs")
    with pytest.raises(SpecError, match="leads out of the folder"):
        load_job(spec)
    (here / "runs").unlink()
    (here / "inner").mkdir()
    (here / "runs").symlink_to("inner")
    assert load_job(spec).output == Path("runs/t")


@pytest.mark.parametrize("name", ["..", ".", "a/b", "../x", "a\n", ""])
def test_a_name_that_is_a_path(name, tmp_path):
    spec = spec_with(tmp_path, "")
    with pytest.raises(SpecError, match=r"\[job\] name"):
        load_job(spec, [f"job.name='''{name}'''" if "\n" in name else f"job.name='{name}'"])


@pytest.mark.parametrize("name", ["log.jsonl", ".lock", "stages"])
def test_links_in_a_run_directory_are_not_written_through(name, blockdot, job, tmp_path):
    out, victim = tmp_path / "run", tmp_path / "victim"
    out.mkdir()
    victim.mkdir() if name == "stages" else victim.write_text("precious")
    (out / name).symlink_to(victim)
    done = blockdot("run", *job(out))
    assert done.returncode == 2
    assert f"{out / name} is a symbolic link" in done.stderr
    assert victim.is_dir() and not any(victim.iterdir()) if name == "stages" else victim.read_text() == "precious"


@pytest.mark.parametrize("name", ["model", "metrics.json", "train.blocks", "predictions", ".metrics.json.partial"])
def test_links_in_the_place_of_results_are_replaced_or_refused(name, blockdot, job, tmp_path):
    out, victim = tmp_path / "run", tmp_path / "victim"
    out.mkdir()
    if name.endswith((".json", ".partial")):
        victim.write_text("precious")
    else:
        victim.mkdir()
        (victim / "file").write_text("precious")
    (out / name).symlink_to(victim)
    done = blockdot("run", *job(out))
    assert "Traceback" not in done.stderr
    kept = victim if victim.is_file() else victim / "file"
    assert kept.read_text() == "precious"
    assert victim.is_file() or list(victim.iterdir()) == [kept]
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "text",
    ["x = " + "[" * 50_000, "x = " + "9" * 10_000, "x = 2024-99-99", "a" * 10_000 + ".b" * 10_000 + " = 1",
     "\x00", "\ufeff", "[job]\nname = '\x1b[2J'\n", "[[job]]\n", "job = 3\n", "[model]\nkind = inf\n"],
)  # fmt: skip
def test_a_hostile_job_spec(text, tmp_path):
    path = tmp_path / "job.toml"
    path.write_text(text)
    with pytest.raises(SpecError, match=r"job\.toml") as caught:
        load_job(path)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("setting", ["model.alpha=" + "[" * 50_000, "data.train=" + "9" * 10_000, "job.name=\x00"])
def test_a_hostile_setting(setting, tmp_path):
    spec = spec_with(tmp_path, "")
    with contextlib.suppress(SpecError):
        assert "\x00" not in load_job(spec, [setting]).to_toml()
