"""A store that is not exactly what was written is refused by name."""

import json

import pyarrow as pa
import pytest
from forged_stores import put_file, refuse, reseal
from small_stores import assert_same_data, content, example, names_beside

from blockdot.blocks import opened, store
from blockdot.blocks.dataset import Dataset
from blockdot.blocks.manifest import MANIFEST
from blockdot.blocks.store import new_store, verify_store, write_block
from blockdot.errors import StoreError


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


def test_a_directory_that_is_something_else_says_what_is_there(stored):
    folder = stored.path.parent
    assert "name one of them (rows.blocks)" in refuse(folder, folder)
    (stored.path / MANIFEST).unlink()
    assert "what is there is blocks, features.arrow; name another" in refuse(stored.path, stored.path)
    empty = folder / "empty"
    empty.mkdir()
    assert "it is empty" in refuse(empty, empty)


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
