"""Raw files that may be anyone's: named by file and line; nothing grows without bound, and no pipe is waited for."""

import bz2
import gzip
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import blockdot as bd
from blockdot.errors import DataError, SpecError
from blockdot.ingest import files

pytestmark = pytest.mark.timeout(60)  # a pipe that is waited for would take for ever


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
