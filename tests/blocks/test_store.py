"""The store: what is written comes back without a copy, and what is not exactly that is refused by name."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import blockdot
from blockdot import atomic
from blockdot.blocks import opened, store
from blockdot.blocks.dataset import Dataset
from blockdot.blocks.manifest import MANIFEST, FileEntry, Manifest, checksum
from blockdot.blocks.store import new_store, verify_store, write_block
from blockdot.errors import ExecutionError, StoreError

SOURCE_ROOT = Path(blockdot.__file__).parent.parent


def example(seed=7, n=40, d=12, kind="float32", block_rows=16, full=True, labels=None):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)).astype("float64" if kind == "float64" else "float32") * (rng.random((n, d)) < 0.3)
    if kind == "absent":
        X = (X != 0).astype(np.float32)
    extra = {"sample_weight": rng.random(n), "offset": rng.normal(size=n)} if full else {}
    y = rng.integers(0, 2, n if labels is None else (n, labels)) if full else None
    return Dataset.from_arrays(X, y, **extra, block_rows=block_rows)


def content(directory):
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def names_beside(path):
    return sorted(p.name for p in path.parent.iterdir())


def assert_same_array(found, expected):
    assert (found is None) == (expected is None)
    if expected is not None:
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)


def assert_same_data(found, expected):
    assert found.shape == expected.shape
    for name in ("nnz", "labels", "n_labels", "has_y", "weight", "n_blocks", "rows_read"):
        assert getattr(found, name) == getattr(expected, name), name
    for name in ("ids", "count", "total", "squares"):
        assert_same_array(getattr(found.table, name), getattr(expected.table, name))
    for i in range(expected.n_blocks):
        a, b = found.source.block(i), expected.source.block(i)
        for name in ("columns", "positions", "y", "sample_weight", "offset", "row_id"):
            assert_same_array(getattr(a, name), getattr(b, name))
        for name in ("indptr", "indices", "values"):
            assert_same_array(getattr(a.X, name), getattr(b.X, name))


def arrays_of(block):
    every = (
        block.X.indptr, block.X.indices, block.X.values, block.columns,
        block.y, block.sample_weight, block.offset, block.row_id,
    )  # fmt: skip
    return [array for array in every if array is not None]


@pytest.fixture
def stored(tmp_path):
    return example().save(tmp_path / "rows.blocks")


# --- what is written comes back ---


@pytest.mark.parametrize("kind", ["float32", "float64", "absent"])
@pytest.mark.parametrize(("full", "labels"), [(True, None), (True, 5), (False, None)])
def test_round_trip(tmp_path, kind, full, labels):
    data = example(kind=kind, full=full, labels=labels)
    path = tmp_path / "deep" / "er" / "rows.blocks"
    assert_same_data(data.save(path), data)
    opened = Dataset.open(str(path))
    assert_same_data(opened, data)
    assert opened.path == path
    opened.verify()
    assert verify_store(path) == []
    assert names_beside(path) == ["rows.blocks"]


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 2**32 - 1), st.integers(0, 30), st.integers(0, 8), st.sampled_from(["float32", "float64", "absent"]),
    st.integers(1, 40), st.booleans(),
)  # fmt: skip
def test_any_rows_make_the_round_trip(tmp_path_factory, seed, n, d, kind, block_rows, full):
    data = example(seed, n, d, kind, block_rows, full)
    path = tmp_path_factory.mktemp("stores") / "rows.blocks"
    saved = data.save(path)
    if n:
        assert_same_data(saved, data)
    assert (saved.shape, len(saved.table)) == (data.shape, len(data.table))
    assert verify_store(path) == []


def test_blocks_are_mapped_and_cannot_be_written_to(stored):
    indicators = example(labels=3).save(stored.path.with_name("labels.blocks"))
    for data in (stored, indicators):
        for i in range(data.n_blocks):
            for array in arrays_of(data.source.block(i)):
                assert not array.flags.writeable
                assert not array.flags.owndata
    block = stored.source.block(0)
    with pytest.raises(ValueError, match="read-only"):
        block.X.values[0] = 3.0
    assert stored.source.block(0) is block, "a block is mapped and checked once"


@pytest.mark.parametrize("labels", [None, 3])
def test_nothing_is_copied_when_a_block_is_read(stored, labels):
    """Every array lies inside the mapped file."""
    big = example(n=3000, d=50, block_rows=3000, labels=labels).save(stored.path.with_name("big.blocks"))
    arrays = arrays_of(big.source.block(0))
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    mapped = [line[0].split("-") for line in lines if line[-1] == str(big.path / "blocks/part-00000.arrow")]
    ranges = [(int(start, 16), int(end, 16)) for start, end in mapped]
    assert ranges
    for array in arrays:
        first = array.__array_interface__["data"][0]
        assert any(start <= first and first + array.nbytes <= end for start, end in ranges)


def test_the_same_data_give_the_same_bytes(tmp_path):
    first = example().save(tmp_path / "first.blocks")
    second = example().save(tmp_path / "elsewhere" / "second.blocks")
    again = first.save(tmp_path / "copy.blocks")
    assert content(first.path) == content(second.path) == content(again.path)
    assert first.digest == second.digest == again.digest
    assert first.digest != example(seed=8).save(tmp_path / "other.blocks").digest
    assert str(tmp_path).encode() not in b"".join(content(first.path).values())


def test_what_is_known_about_the_features_is_kept(tmp_path):
    data = replace(
        example(),
        features={"bits": 4, "nested": {"a": [1, 2]}},
        classes=("no", "yes"),
        files=("day1.gz",),
        rows_read=50,
        dropped={"no label": 10},
    )
    opened = data.save(tmp_path / "rows.blocks")
    for name in ("features", "classes", "files", "rows_read", "dropped"):
        assert getattr(opened, name) == getattr(data, name)


def test_labels_that_are_many_are_not_counted(tmp_path):
    X, y = np.ones((600, 1)), np.arange(600)
    opened = Dataset.from_arrays(X, y, block_rows=100).save(tmp_path / "many.blocks")
    assert opened.labels is None
    assert opened.has_y
    few = Dataset.from_arrays(X, y % 256, block_rows=100).save(tmp_path / "few.blocks")
    assert few.labels == tuple(map(float, range(256)))


# --- what is damaged is refused by name ---


def refuse(path, *words):
    """Opening, and reading every block, fails with a StoreError that has ``words`` in its text, as verify does."""
    opened._open.cache_clear()  # what a new process would see

    def read_all():
        data = Dataset.open(path)
        for i in range(data.n_blocks):
            data.source.block(i)

    with pytest.raises(StoreError) as caught:
        read_all()
    found = verify_store(path)
    assert found
    for text in (str(caught.value), "\n".join(found)):
        for word in words:
            assert str(word) in text
    return str(caught.value)


def files_of(path):
    return [name for name in content(path) if name != MANIFEST]


def test_the_store_has_the_files_that_the_damage_below_is_done_to(stored):
    assert files_of(stored.path) == [*(f"blocks/part-0000{i}.arrow" for i in range(3)), "features.arrow"]


FILES = ["blocks/part-00000.arrow", "blocks/part-00002.arrow", "features.arrow"]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("keep", [0, 1, -1])
def test_a_truncated_file(stored, file, keep):
    path = stored.path / file
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: keep or 0])
    text = refuse(stored.path, path, f"{size:,}")
    assert "truncated" in text


@pytest.mark.parametrize("file", FILES)
def test_a_file_with_something_after_its_end(stored, file):
    path = stored.path / file
    path.write_bytes(path.read_bytes() + b"\0")
    refuse(stored.path, path)


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file(stored, file):
    (stored.path / file).unlink()
    assert "missing" in refuse(stored.path, stored.path / file)


@pytest.mark.parametrize("file", FILES)
def test_any_flipped_bit(stored, file):
    path = stored.path / file
    good = path.read_bytes()
    for place in range(0, len(good), max(len(good) // 60, 1)):
        bad = bytearray(good)
        bad[place] ^= 1 << (place % 8)
        path.write_bytes(bad)
        refuse(stored.path, path, "checksum")
    path.write_bytes(good)
    assert verify_store(stored.path) == []


def test_any_flipped_byte_of_the_manifest(stored):
    path = stored.path / MANIFEST
    good = path.read_bytes()
    for place in range(0, len(good) - 1, 13):
        bad = bytearray(good)
        bad[place] ^= 0x04
        if json_or_none(bytes(bad)) != json.loads(good):
            path.write_bytes(bad)
            refuse(stored.path, path)


def json_or_none(data):
    try:
        return json.loads(data)
    except ValueError:
        return None


def reseal(path, change):
    """Rewrite the manifest with a right digest, as an attacker (or a careless script) would."""
    stated = json.loads((path / MANIFEST).read_bytes())
    change(stated)
    stated.pop("digest", None)
    (path / MANIFEST).write_bytes(Manifest.model_validate(stated).sealed().to_json())


def put_file(path, file, data):
    """Replace a file by ``data`` and let a resealed manifest agree."""
    (path / file).write_bytes(data)

    def change(stated):
        for entry in (stated["table"], *stated["blocks"]):
            if entry["file"] == file:
                entry.update(FileEntry.of(file, data).model_dump())

    reseal(path, change)


@pytest.mark.parametrize("field", ["rows", "nnz", "n_features", "n_occurring", "rows_read", "classes", "files"])
def test_an_altered_manifest(stored, field):
    path = stored.path / MANIFEST
    stated = json.loads(path.read_bytes())
    stated[field] = {"classes": ["a", "b"], "files": ["x"]}.get(field, 99)
    path.write_text(json.dumps(stated))
    assert "digest" in refuse(stored.path, path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "JSON"),
        ("{", "JSON"),
        ("[]", MANIFEST),
        ("null", MANIFEST),
        ("\x00\xff", "JSON"),
        ('{"format": "blockdot-model"}', "format"),
    ],
)
def test_a_manifest_that_is_none(stored, text, why):
    (stored.path / MANIFEST).write_bytes(text.encode("latin-1"))
    refuse(stored.path, stored.path / MANIFEST, why)


def test_another_version(stored):
    path = stored.path / MANIFEST
    stated = json.loads(path.read_bytes())
    path.write_text(json.dumps(stated | {"version": 4}))
    refuse(stored.path, path, "version")


def test_a_store_of_version_1_which_knew_no_dense_columns_is_still_read(tmp_path):
    data = example()
    path = data.save(tmp_path / "rows.blocks").path
    reseal(path, lambda stated: stated.update(version=1))
    assert_same_data(Dataset.open(path), data)


def test_a_store_has_the_least_version_that_can_say_what_it_holds(tmp_path):
    """What knows no targets of several columns reads all stores without them, and refuses the others by version."""
    plain = json.loads((example().save(tmp_path / "plain.blocks").path / MANIFEST).read_text())
    several = json.loads((example(labels=4).save(tmp_path / "several.blocks").path / MANIFEST).read_text())
    assert plain["version"] == 2
    assert "n_labels" not in plain
    assert (several["version"], several["n_labels"]) == (3, 4)


@pytest.mark.parametrize("stated", [None, 3, 5])
def test_targets_of_another_width_than_the_manifest_says(tmp_path, stated):
    path = example(labels=4).save(tmp_path / "rows.blocks").path

    def change(manifest):
        manifest.pop("n_labels")
        manifest.update({} if stated is None else {"n_labels": stated})

    reseal(path, change)
    refuse(path, path / "blocks/part-00000.arrow", "another shape than the manifest says")


def test_blocks_whose_targets_differ_in_width_are_no_store(tmp_path):
    blocks = [example(labels=labels).source.block(0) for labels in (4, None)]
    with (
        pytest.raises(StoreError, match="targets with 4 and no label columns; needed the same in all"),
        new_store(tmp_path / "rows.blocks") as writer,
    ):
        writer.commit([write_block(block, writer.directory, f"b{i}") for i, block in enumerate(blocks)])
    assert names_beside(tmp_path / "rows.blocks") == []


def test_an_unknown_key(stored):
    path = stored.path / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"more": 1}))
    refuse(stored.path, path, "more")


def test_a_key_that_occurs_twice(stored):
    path = stored.path / MANIFEST
    path.write_text(path.read_text().replace('"nnz"', '"nnz": 1, "nnz"', 1))
    refuse(stored.path, path, "'nnz' occurs twice")


@pytest.mark.parametrize("strange", ["../outside.arrow", "/outside.arrow", "blocks/../../outside.arrow", "", "."])
@pytest.mark.parametrize("which", ["table", "block"])
def test_file_names_that_point_elsewhere(stored, strange, which):
    outside = stored.path.with_name("outside.arrow")
    outside.write_bytes((stored.path / "blocks/part-00001.arrow").read_bytes())

    def change(stated):
        (stated["table"] if which == "table" else stated["blocks"][1])["file"] = strange

    reseal(stored.path, change)
    refuse(stored.path, stored.path / MANIFEST, repr(strange), "outside the store")


def test_counts_that_contradict_the_block(stored):
    reseal(stored.path, lambda stated: stated["blocks"][1].update(rows=17))
    refuse(stored.path, stored.path / MANIFEST, "rows is 40, and its blocks have 41")
    reseal(stored.path, lambda stated: stated.update(rows=41))
    refuse(stored.path, stored.path / "blocks/part-00001.arrow", "manifest says otherwise")


def test_an_index_out_of_range_never_reaches_the_compiled_loops(tmp_path):
    data = example()
    block = data.source.block(0)
    wild = block.X.indices.copy()
    wild[3] = 4_000_000_000
    with new_store(tmp_path / "wild.blocks") as writer:
        good = write_block(block, writer.directory, "good")
        sound = pa.ipc.open_file(writer.directory / "good.arrow").get_batch(0)
        rows = sound.column("indices")
        indices = pa.DictionaryArray.from_arrays(pa.array(wild), rows.values.dictionary, safe=False)
        columns = {name: sound.column(name) for name in sound.schema.names}
        columns["indices"] = pa.ListArray.from_arrays(rows.offsets, indices)
        (writer.directory / "good.arrow").write_bytes(store._ipc_bytes(pa.record_batch(columns)))
        writer.commit([good])
    path = tmp_path / "wild.blocks"
    put_file(path, "blocks/part-00000.arrow", (path / "blocks/part-00000.arrow").read_bytes())
    refuse(path, path / "blocks/part-00000.arrow", "4000000000")


@pytest.mark.parametrize("file", FILES[::2])
@pytest.mark.parametrize("data", [b"", b"not Arrow at all" * 40, b"ARROW1\0\0" + b"\xff" * 300 + b"ARROW1"])
def test_a_file_that_is_not_arrow_although_the_manifest_agrees(stored, file, data):
    put_file(stored.path, file, data)
    refuse(stored.path, stored.path / file)


@pytest.mark.parametrize("file", FILES[::2])
def test_an_arrow_file_of_something_else(stored, file):
    put_file(stored.path, file, bytes(store._ipc_bytes(pa.record_batch({"x": pa.array([1, 2])}))))
    refuse(stored.path, stored.path / file)


def test_a_block_with_null_values(stored):
    file = "blocks/part-00000.arrow"
    batch = pa.ipc.open_file(stored.path / file).get_batch(0)
    columns = {name: batch.column(name) for name in batch.schema.names}
    columns["y"] = pa.array([None, *[1.0] * (batch.num_rows - 1)])
    put_file(stored.path, file, bytes(store._ipc_bytes(pa.record_batch(columns))))
    refuse(stored.path, stored.path / file)


def test_a_block_of_a_store_whose_table_lacks_its_features(stored):
    other = example(seed=1, n=16, d=40, block_rows=16)
    written = {}
    with new_store(stored.path.with_name("other.blocks")) as writer:
        written["block"] = write_block(other.source.block(0), writer.directory, "b")
        data = (writer.directory / "b.arrow").read_bytes()
        writer.commit([written["block"]])
    (stored.path / "blocks/part-00000.arrow").write_bytes(data)
    entry = written["block"].entry.model_dump() | {"file": "blocks/part-00000.arrow"}

    def change(stated):
        stated["blocks"][0] = entry
        stated.update({name: sum(block[name] for block in stated["blocks"]) for name in ("rows", "nnz")})

    reseal(stored.path, change)
    refuse(stored.path, stored.path / "blocks/part-00000.arrow", "not among")


@pytest.mark.parametrize("what", ["nothing", "a file", "an empty directory", "an unfinished store"])
def test_what_is_no_store(tmp_path, what):
    path = tmp_path / "rows.blocks"
    if what == "a file":
        path.write_text("rows")
    elif what == "an empty directory":
        path.mkdir()
    elif what == "an unfinished store":
        example().save(path)
        (path / MANIFEST).unlink()
    refuse(path, path)


def test_verify_lists_all_that_is_wrong(stored):
    path = stored.path
    (path / "blocks/part-00000.arrow").unlink()
    flipped = bytearray((path / "blocks/part-00001.arrow").read_bytes())
    flipped[-100] ^= 1
    (path / "blocks/part-00001.arrow").write_bytes(flipped)
    (path / "features.arrow").write_bytes(b"short")
    (path / "blocks/.part-00003.arrow.partial").write_bytes(b"left behind")
    (path / "notes.txt").write_text("mine")
    problems = verify_store(path)
    assert len(problems) == 5
    for name in ("blocks/part-00000.arrow", "blocks/part-00001.arrow", "features.arrow", ".partial", "notes.txt"):
        assert sum(name in problem for problem in problems) == 1
    with pytest.raises(StoreError, match="missing") as caught:
        stored.verify()
    assert str(caught.value).count("\n") == 4


def test_a_store_that_was_replaced_since_it_was_opened(tmp_path):
    path = tmp_path / "rows.blocks"
    old = example().save(path)
    for file in sorted(path.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    path.rmdir()
    example(seed=8).save(path)
    opened._open.cache_clear()
    with pytest.raises(StoreError, match="changed since it was opened") as caught:
        old.source.block(0)
    assert str(path) in str(caught.value)


# --- whole or not at all ---


def test_an_existing_place_is_not_written_to(stored):
    before = content(stored.path)
    with pytest.raises(StoreError, match="exists already") as caught:
        example(seed=8).save(stored.path)
    assert str(stored.path) in str(caught.value)
    assert content(stored.path) == before
    occupied = stored.path.with_name("occupied")
    occupied.write_text("mine")
    with pytest.raises(StoreError, match="exists already"):
        example().save(occupied)
    assert occupied.read_text() == "mine"


def test_overwriting_is_asked_for_and_leaves_one_of_the_two(stored):
    before, other = content(stored.path), example(seed=8)

    def write(fail):
        with new_store(stored.path, overwrite=True) as writer:
            written = [write_block(other.source.block(i), writer.directory, f"b{i}") for i in range(other.n_blocks)]
            if fail:
                raise KeyboardInterrupt
            writer.commit(written)

    with pytest.raises(KeyboardInterrupt):
        write(fail=True)
    assert content(stored.path) == before
    write(fail=False)
    assert content(stored.path) != before
    assert verify_store(stored.path) == []
    assert names_beside(stored.path) == ["rows.blocks"]


def test_an_error_in_the_middle_leaves_nothing(tmp_path):
    path, data = tmp_path / "rows.blocks", example()

    def half(error):
        with new_store(path) as writer:
            write_block(data.source.block(0), writer.directory, "b0")
            raise error

    for error in (RuntimeError("in the middle"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            half(error)
        assert names_beside(path) == []
        with pytest.raises(StoreError, match="no such store"):
            Dataset.open(path)
    data.save(path)
    assert verify_store(path) == []


def test_a_writer_that_commits_nothing(tmp_path):
    with pytest.raises(StoreError, match="nothing was committed"), new_store(tmp_path / "rows.blocks"):
        pass
    assert names_beside(tmp_path / "rows.blocks") == []


def script(code, *arguments, **options):
    """A process of its own that runs ``code``."""
    environment = os.environ | {"PYTHONPATH": str(SOURCE_ROOT)}
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        **options,
    )  # fmt: skip


HOLD = """
    import sys
    from pathlib import Path
    import numpy as np
    from blockdot.blocks.dataset import Dataset
    from blockdot.blocks.store import new_store, write_block

    data = Dataset.from_arrays(np.eye(30), np.arange(30) % 2, block_rows=10)
    with new_store(Path(sys.argv[1])) as writer:
        written = [write_block(data.source.block(i), writer.directory, f"b{i}") for i in range(2)]
        print("half", flush=True)
        sys.stdin.readline()
        written.append(write_block(data.source.block(2), writer.directory, "b2"))
        writer.commit(written, n_features=30)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that has written half of a store and waits."""
    process = script(HOLD, tmp_path / "rows.blocks")
    with process:
        assert process.stdout.readline() == "half\n", process.stderr.read()
        yield process
        process.kill()


def test_a_killed_writer_leaves_nothing_that_opens(holder, tmp_path):
    path = tmp_path / "rows.blocks"
    os.kill(holder.pid, signal.SIGKILL)
    assert holder.wait(30) == -signal.SIGKILL
    left = names_beside(path)
    assert "rows.blocks" not in left
    assert ".rows.blocks.partial" in left
    for name in (path, path.with_name(".rows.blocks.partial")):
        with pytest.raises(StoreError, match=re.escape(str(name))):
            Dataset.open(name)
    example().save(path)
    assert verify_store(path) == []
    assert names_beside(path) == ["rows.blocks"]


def test_a_second_writer_is_refused_while_the_first_goes_on(holder, tmp_path):
    path = tmp_path / "rows.blocks"
    with pytest.raises(ExecutionError, match="being written by another process") as caught:
        example().save(path)
    assert str(path) in str(caught.value)
    _, errors = holder.communicate("go on\n", timeout=60)
    assert (holder.returncode, errors) == (0, "")
    assert Dataset.open(path).n_rows == 30
    assert verify_store(path) == []


def test_a_store_that_another_finishes_just_before_the_lock_is_taken(tmp_path, monkeypatch):
    path, locked = tmp_path / "rows.blocks", atomic.locked

    def overtaken(*arguments):
        monkeypatch.setattr(atomic, "locked", locked)
        example(seed=8).save(path)
        return locked(*arguments)

    monkeypatch.setattr(atomic, "locked", overtaken)
    with pytest.raises(StoreError, match="exists already"):
        example().save(path)


FULL = """
    import resource, signal, sys
    from pathlib import Path
    import numpy as np
    from blockdot.blocks.dataset import Dataset
    from blockdot.errors import StoreError

    rng = np.random.default_rng(0)
    data = Dataset.from_arrays(rng.normal(size=(3000, 20)), rng.integers(0, 2, 3000), block_rows=1000)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    try:
        data.save(Path(sys.argv[1]))
    except StoreError as error:
        print(error)
        sys.exit(3)
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit on the size of files here")
@pytest.mark.parametrize("limit", [1000, 50_000])
def test_a_disk_that_takes_no_more(tmp_path, limit):
    path = tmp_path / "rows.blocks"
    with script(FULL, path, limit) as process:
        output, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (3, "")
    assert re.search(r"cannot write \S*rows\.blocks\S*/\S+\.arrow \([\d,]+ bytes\)", output)
    assert names_beside(path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_may_not_be_written_to(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(StoreError, match="may write to") as caught:
        example().save(closed / "rows.blocks")
    assert str(closed) in str(caught.value)


def test_a_place_below_a_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match=re.escape(str(tmp_path / "file" / "rows.blocks"))):
        example().save(tmp_path / "file" / "rows.blocks")


def test_a_block_for_a_directory_that_is_not_there(tmp_path):
    with pytest.raises(StoreError, match="file system in common") as caught:
        write_block(example().source.block(0), tmp_path / "nowhere", "b")
    assert str(tmp_path / "nowhere") in str(caught.value)


def test_files_are_replaced_whole(tmp_path):
    path = tmp_path / "file"
    atomic.write_file(path, b"old")
    atomic.write_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert names_beside(path) == ["file"]
    (tmp_path / "directory").mkdir()
    with pytest.raises(StoreError, match=re.escape(str(tmp_path / "directory"))):
        atomic.write_file(tmp_path / "directory", b"new")
    assert names_beside(path) == ["directory", "file"]


def test_checksums_are_xxh3():
    assert checksum(b"") == "99aa06d3014798d86001c324468d497f"
