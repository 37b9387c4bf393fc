"""Delimited text and Parquet become tables: equal to what pandas reads, exact about lines and about what is refused."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockdot.blocks.threads import ThreadPool
from blockdot.errors import DataError
from blockdot.ingest import delimited, parquet
from blockdot.ingest.plan import Piece, plan
from blockdot.ingest.spec import DataSpec
from blockdot.ingest.table import Table


def read(text: str | bytes, columns: str = "a b", first_line: int = 2, needed: str | None = None, **options) -> Table:
    data = text.encode() if isinstance(text, str) else text
    spec = DataSpec.model_validate({"format": "csv", **options})
    names = tuple(columns.split())
    return delimited.read(Piece("f.csv", first_line, data, names), tuple((needed or columns).split()), spec)


def column(table: Table, name: str) -> list:
    return table.text(name).to_pylist()


def test_blank_lines_keep_the_numbers_of_the_others() -> None:
    table = read("1,x\n\n2,y\r\n\r\n\n3,z")
    assert table.lines.tolist() == [2, 4, 7]
    assert column(table, "b") == ["x", "y", "z"]


def test_quoted_fields() -> None:
    table = read('1,"x, ""y"""\n2,5" pipe\n')
    assert column(table, "b") == ['x, "y"', '5" pipe']


def test_quotes_can_be_letters() -> None:
    assert column(read('1,"x\n2,y"\n', quoting=False), "b") == ['"x', 'y"']


def test_quoted_newlines() -> None:
    table = read('1,"x\ny"\n\n2,z\n', quoted_newlines=True)
    assert column(table, "b") == ["x\ny", "z"]
    assert table.lines.tolist() == [2, 5]


def test_missing_tokens() -> None:
    table = read('NA,\n1,"NULL"\n nan ,x\n')
    assert column(table, "b") == [None, None, "x"]
    np.testing.assert_array_equal(table.numbers("a"), [np.nan, 1, np.nan])
    assert column(read("?,x\n", missing=["?"]), "a") == [None]


@pytest.mark.parametrize("name", ["a", "b"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1,x\n\n2\n", ["f.csv:4:", "found 1 fields, needed 2"]),
        ("1,x\n2,y,z\n", ["f.csv:3:", "found 3 fields, needed 2"]),
        ('1,x\n2,"y\n', ["f.csv:3:", "quotation mark", "quoted_newlines = true"]),
        ('1,"x\n2,y"\n3,z\n', ["f.csv:2:", "quotation mark", "quoted_newlines = true"]),
        ('1,"x\n2,y",z\n', ["f.csv:2:", "quotation mark", "quoted_newlines = true"]),
        ("1,x\n2,y\rz\n", ["f.csv:3:", "carriage return"]),
    ],
)
def test_refuses_with_the_line(text: str, words: list[str], name: str) -> None:
    with pytest.raises(DataError) as caught:
        read(text, needed=name)
    for word in words:
        assert word in str(caught.value)


def test_refuses_what_is_not_utf8() -> None:
    with pytest.raises(DataError, match=r"f\.csv:3: byte 4: found b'\\xff', needed UTF-8"):
        read(b"1,x\n2,y\xffz\n")


def test_an_open_quote_with_quoted_newlines() -> None:
    with pytest.raises(DataError, match=r"f\.csv:5: found a quotation mark that is still open"):
        read('1,"x\ny"\n2,z\n3,"y\n4,z\n', quoted_newlines=True)


@pytest.mark.parametrize("text", ["abc", "1_0", "0x10", "inf", "-Infinity", "1e999", "1,5"])
def test_text_that_is_no_finite_number(text: str) -> None:
    with pytest.raises(DataError) as caught:
        read(f"1;x\n{text};y\n", delimiter=";").numbers("a")
    assert f"f.csv:3: column 'a': found {text!r}, needed a finite number" in str(caught.value)


def test_nan_is_no_number_unless_it_is_a_missing_token() -> None:
    with pytest.raises(DataError, match="found 'nan', needed a finite number"):
        read("nan,x\n", missing=["NA"]).numbers("a")


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20), st.booleans())
def test_numbers_are_rounded_correctly(values: list[float], slow: bool) -> None:
    texts = [f" {v!r} " for v in values] + ["+1e0" if slow else "1"]
    np.testing.assert_array_equal(read("\n".join(f"{t},x" for t in texts)).numbers("a"), [*values, 1.0])


fields = st.text(st.characters(codec="utf-8", exclude_characters='\r\n"\x00', exclude_categories=["Cs"]), max_size=6)


@settings(deadline=None)
@given(st.lists(st.tuples(fields, fields), min_size=1, max_size=10))
def test_equals_pandas(rows: list) -> None:
    frame = pd.DataFrame([(f"k{a}", b) for a, b in rows], columns=["a", "b"])
    text = frame.to_csv(index=False, header=False, lineterminator="\n")
    table = read(text, missing=["NA-token"])
    expected = pd.read_csv(io.StringIO(text), header=None, dtype=str, keep_default_na=False)
    assert column(table, "a") == expected[0].tolist()
    assert column(table, "b") == expected[1].tolist()
    assert table.lines.tolist() == [2 + i for i in range(len(rows))]


def sources(path, **options) -> list:
    return list(plan(path, DataSpec.model_validate({"format": "csv", **options}), ThreadPool(1)).sources)


def test_headers(tmp_path) -> None:
    path = tmp_path / "f.csv"
    path.write_bytes(b'\xef\xbb\xbf\r\na,"b, c"\r\n1,2\r\n')
    (source,) = sources(path)
    assert source.columns == ("a", "b, c")
    assert source.body_line == 3
    path.write_bytes(b"\xef\xbb\xbf1,2\n")
    (source,) = sources(path, columns=["x", "y"])
    assert (source.columns, source.body, source.body_line) == (("x", "y"), 3, 1)


def test_a_name_twice_in_the_header(tmp_path) -> None:
    (tmp_path / "f.csv").write_text("a,b,a\n1,2,3\n")
    with pytest.raises(DataError, match=r"f\.csv:1: the header has the column 'a' twice"):
        sources(tmp_path / "f.csv")


def parquet_tables(path, needed: list[str], block_bytes: int) -> list[Table]:
    spec = DataSpec(format="parquet", block_bytes=block_bytes)
    made = plan(path, spec, ThreadPool(1))
    return [table for chunk in made.chunks for table in parquet.read(chunk, needed, spec, block_bytes)]


@pytest.mark.parametrize("group", [7, 40, 1000])
@pytest.mark.parametrize("block_bytes", [1, 300, 2**20])
def test_parquet_rows_in_order(tmp_path, group: int, block_bytes: int) -> None:
    pq.write_table(
        pa.table({"a": range(100), "s": [f"v{i}" for i in range(100)]}), tmp_path / "f", row_group_size=group
    )
    tables = parquet_tables(tmp_path / "f", ["s", "a"], block_bytes)
    assert np.concatenate([table.lines for table in tables]).tolist() == list(range(1, 101))
    assert np.concatenate([table.numbers("a") for table in tables]).tolist() == list(range(100))
    assert [text for table in tables for text in column(table, "s")] == [f"v{i}" for i in range(100)]
    assert (len(tables) > 1) == (block_bytes < 2**20)


def test_parquet_types(tmp_path) -> None:
    content = pa.table(
        {
            "f": pa.array([1.5, None, float("nan")]),
            "i": pa.array([1, None, 3], pa.int32()),
            "b": pa.array([True, False, None]),
            "d": pa.array(["x", "NA", None]).dictionary_encode(),
            "n": pa.array(["1", "", " 2 "]),
            "l": pa.array([[1], [2], [3]]),
        }
    )
    pq.write_table(content, tmp_path / "f")
    (table,) = parquet_tables(tmp_path / "f", content.column_names, 2**20)
    np.testing.assert_array_equal(table.numbers("f"), [1.5, np.nan, np.nan])
    np.testing.assert_array_equal(table.numbers("i"), [1, np.nan, 3])
    np.testing.assert_array_equal(table.numbers("b"), [1, 0, np.nan])
    np.testing.assert_array_equal(table.numbers("n"), [1, np.nan, 2])
    assert column(table, "i") == ["1", None, "3"]
    assert column(table, "b") == ["true", "false", None]
    assert column(table, "d") == ["x", None, None]
    with pytest.raises(DataError, match="column 'l': found the type list"):
        table.numbers("l")


def test_parquet_infinity_and_foreign_files(tmp_path) -> None:
    pq.write_table(pa.table({"a": [1.0, float("inf")]}), tmp_path / "f")
    (table,) = parquet_tables(tmp_path / "f", ["a"], 2**20)
    with pytest.raises(DataError, match=r"f:2: column 'a': found inf, needed a finite number"):
        table.numbers("a")
    (tmp_path / "g").write_text("not parquet")
    with pytest.raises(DataError, match="not a Parquet file"):
        parquet_tables(tmp_path / "g", ["a"], 100)
    pq.write_table(pa.table({"a": pa.array([], pa.float64())}), tmp_path / "h")
    with pytest.raises(DataError, match="has no rows"):
        parquet_tables(tmp_path / "h", ["a"], 100)
