"""Inputs become files, and files are cut at line ends: every line once, whatever the size of a piece."""

from __future__ import annotations

import bz2
import gzip
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockdot.blocks.threads import ThreadPool
from blockdot.errors import DataError, SpecError
from blockdot.ingest.inputs import resolve
from blockdot.ingest.plan import pieces, plan
from blockdot.ingest.spec import DataSpec


def svmlight(block_bytes: int | None = None) -> DataSpec:
    return DataSpec(format="svmlight", block_bytes=block_bytes)


def read_all(path: Path) -> bytes:
    made = plan(path, svmlight(100), ThreadPool(1))
    return b"".join(piece.data for chunk in made.chunks for piece in pieces(chunk, made.block_bytes))


def compress(path: Path, data: bytes) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(data))
    elif path.suffix == ".bz2":
        path.write_bytes(bz2.compress(data))
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("inside.csv", data)
    else:
        path.write_bytes(data)
    return path


@given(
    text=st.lists(st.text("ab \r", max_size=12).map(str.encode), min_size=1, max_size=30).map(b"\n".join),
    block_bytes=st.integers(1, 60),
    suffix=st.sampled_from(["", ".gz", ".bz2", ".zip"]),
    mark=st.booleans(),
)
@settings(deadline=None)
def test_every_line_once_with_its_number(tmp_path_factory, text, block_bytes, suffix, mark) -> None:
    text = text or b"x"
    path = compress(tmp_path_factory.mktemp("cut") / f"f{suffix}", b"\xef\xbb\xbf" * mark + text)
    made = plan(path, svmlight(block_bytes), ThreadPool(2))
    parts = [piece for chunk in made.chunks for piece in pieces(chunk, made.block_bytes)]
    assert b"".join(piece.data for piece in parts) == text
    line = 1
    for piece in parts:
        assert piece.first_line == line
        line += piece.data.count(b"\n")
    for piece in parts[:-1]:
        assert piece.data.endswith(b"\n")
        assert len(piece.data) >= block_bytes


def test_compressed_files_are_cut_like_plain_ones(tmp_path) -> None:
    text = b"".join(b"%d 1:%d\n" % (i, i) for i in range(500))
    cuts = set()
    for suffix in ("", ".gz", ".bz2", ".zip"):
        made = plan(compress(tmp_path / f"f{suffix}", text), svmlight(100), ThreadPool(2))
        cuts.add(tuple(piece.data for chunk in made.chunks for piece in pieces(chunk, 100)))
    assert len(cuts) == 1
    assert len(cuts.pop()) > 10


def test_globs_directories_and_lists(tmp_path) -> None:
    for name in ("b/2.svm", "b/1.svm", "a.svm", "b/_SUCCESS", "b/.hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1\n")
    assert [name for _, name in resolve(tmp_path / "b")] == ["1.svm", "2.svm"]
    assert [name for _, name in resolve(str(tmp_path / "b/*.svm"))] == ["1.svm", "2.svm"]
    assert [name for _, name in resolve([tmp_path / "b" / "2.svm", tmp_path / "a.svm"])] == ["b/2.svm", "a.svm"]
    assert [name for _, name in resolve(tmp_path / "a.svm")] == ["a.svm"]


def test_names_do_not_depend_on_where_the_files_lie(tmp_path, monkeypatch) -> None:
    names = []
    for place in ("here", "there/deep"):
        folder = tmp_path / place / "x"
        folder.mkdir(parents=True)
        for name in ("1.svm", "2.svm"):
            (folder / name).write_text("1\n")
        names.append([name for _, name in resolve(folder)])
        monkeypatch.chdir(folder)
        names.append([name for _, name in resolve(["1.svm", "2.svm"])])
    assert names == [["1.svm", "2.svm"]] * 4


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([], "no inputs were given"),
        ("missing.svm", "leads to no file"),
        ("*.nothing", "leads to no file"),
        ("empty_folder", "leads to no file"),
        (["one.svm", "./one.svm"], "is given twice"),
        ("package:no_such_package_here/x.csv", "no installed package"),
        ("package:pytest/no_such.csv", "has no 'no_such.csv'"),
        ("package:pytest/../x.csv", "outside the package"),
    ],
)
def test_refuses_inputs_without_files(tmp_path, monkeypatch, inputs, words) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.svm").write_text("1\n")
    (tmp_path / "empty_folder").mkdir()
    with pytest.raises(SpecError, match=words):
        resolve(inputs)


def test_a_file_inside_a_package(monkeypatch, tmp_path) -> None:
    (tmp_path / "somepackage" / "data").mkdir(parents=True)
    (tmp_path / "somepackage" / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "somepackage" / "data" / "f.svm").write_text("1\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert [name for _, name in resolve("package:somepackage/data/f.svm")] == ["f.svm"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("f.svm", b"", "the file is empty"),
        ("f.svm", b"\xef\xbb\xbf", "the file is empty"),
        ("f.svm.gz", gzip.compress(b""), "the file is empty"),
        ("f.svm.gz", b"1 1:1\n", "damaged or of another kind"),
        ("f.svm.gz", gzip.compress(b"1 1:1\n" * 1000)[:-20], "damaged or of another kind"),
        ("f.svm.bz2", b"1 1:1\n", "bz2"),
        ("f.svm.zip", b"1 1:1\n", "damaged or of another kind"),
        ("f.svm.zst", b"1 1:1\n", "cannot be read; needed plain text"),
    ],
)
def test_refuses_files_that_are_not_what_their_name_says(tmp_path, name, content, words) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_all(tmp_path / name)


def test_refuses_an_archive_of_several_files(tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "f.zip", "w") as archive:
        archive.writestr("a", "1\n")
        archive.writestr("b", "1\n")
    with pytest.raises(DataError, match="found 2 files in the archive, needed one"):
        plan(tmp_path / "f.zip", svmlight(), ThreadPool(1))


def test_the_default_size_of_a_piece_follows_the_size_of_all(tmp_path) -> None:
    (tmp_path / "f.svm").write_bytes(b"1\n")
    assert plan(tmp_path / "f.svm", svmlight(), ThreadPool(1)).block_bytes == 2**20
