"""Columns become features with the ids, values and names that features.py states."""

from __future__ import annotations

from math import log, log1p

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash

from blockdot.blocks.dataset import Dataset
from blockdot.errors import DataError, SpecError
from blockdot.ingest import labels
from blockdot.ingest.build import ingest
from blockdot.ingest.features import FittedFeatures, feature_names


@pytest.fixture
def made(tmp_path, read_back):
    """Ingest a CSV text; the rows read back, the data set, and the names of the features."""
    counter = iter(range(100))

    def make(text: str, features: dict, **data):
        path = tmp_path / "f.csv"
        path.write_text(text)
        spec = {"format": "csv", "label": "y", "dtype": "float64", **data}
        dataset = ingest(path, tmp_path / f"{next(counter)}.blocks", data=spec, features=features)
        return read_back(dataset), dataset, names_of(dataset)

    return make


def names_of(dataset: Dataset) -> list[str]:
    assert dataset.features is not None
    return feature_names(FittedFeatures.model_validate(dataset.features))


def slot(text: str, bits: int) -> int:
    return xxhash.xxh3_64_intdigest(text.encode()) & (2**bits - 1)


TEXT = "y,n,m,c,d\n1,2,0,x,p\n0,,5,,q\n1,-1,NA,z,p\n"


def test_the_layout_of_the_ids(made) -> None:
    rows, data, names = made(TEXT, {"numeric": ["n", "m"], "one_hot": ["c"], "hashed": ["d"], "bits": 3})
    p, q = slot("d=p", 3), slot("d=q", 3)
    assert names[:7] == ["n", "m", "n is missing", "m is missing", "c=<missing>", "c=x", "c=z"]
    assert names[7:] == [f"hash:{i}" for i in range(8)]
    expected = np.zeros((3, 15))
    expected[0, [0, 5, 7 + p]] = [2, 1, 1]
    expected[1, [1, 2, 4, 7 + q]] = [5, 1, 1, 1]
    expected[2, [0, 3, 6, 7 + p]] = [-1, 1, 1, 1]
    np.testing.assert_array_equal(rows.X, expected)
    assert rows.y.tolist() == [1, 0, 1]
    assert rows.line.tolist() == [2, 3, 4]
    assert data.n_features == 15
    assert data.nnz == np.count_nonzero(expected)


def test_hashes_are_those_that_are_stated() -> None:
    """Stored models depend on these numbers: they may never change."""
    assert xxhash.xxh3_64_hexdigest(b"carrier=UA") == "898b93ca264f7f39"
    assert slot("carrier=UA", 18) == 0x898B93CA264F7F39 % 2**18


@pytest.mark.parametrize(
    ("policy", "X", "dropped"),
    [
        ("zero", [[2, 0], [0, 5], [-1, 0]], {}),
        ("drop", [[2, 0]], {"n missing": 1, "m missing": 1}),
        ("indicator", [[2, 0, 0, 0], [0, 5, 1, 0], [-1, 0, 0, 1]], {}),
    ],
)
def test_missing_numbers(made, policy: str, X: list, dropped: dict) -> None:
    rows, data, _ = made(TEXT, {"numeric": ["n", "m"], "missing": policy})
    np.testing.assert_array_equal(rows.X, X)
    assert data.dropped == dropped
    assert data.rows_read == 3


def test_missing_numbers_as_errors(made) -> None:
    with pytest.raises(DataError, match=r"f\.csv:3: column 'n': found '', needed a number"):
        made(TEXT, {"numeric": ["n"], "missing": "error"})


def test_log1p(made) -> None:
    rows, _, _ = made("y,n\n1,0\n0,3\n", {"numeric": [{"column": "n", "transform": "log1p"}], "missing": "zero"})
    np.testing.assert_array_equal(rows.X, [[0], [log1p(3)]])
    with pytest.raises(DataError, match=r"f\.csv:3: column 'n': found -1.0, needed a number above -1"):
        made("y,n\n1,0\n0,-1\n", {"numeric": [{"column": "n", "transform": "log1p"}]})


def test_crosses(made) -> None:
    rows, _, _ = made(TEXT, {"crosses": [["c", "d"], ["c", "d", "n"]], "bits": 16})
    for row, (c, d, n) in zip(
        rows.X, [("x", "p", "2"), ("<missing>", "q", "<missing>"), ("z", "p", "-1")], strict=True
    ):
        wanted = {slot(f"c*d={c}*{d}", 16), slot(f"c*d*n={c}*{d}*{n}", 16)}
        assert set(np.flatnonzero(row)) == wanted


def test_features_that_meet_in_a_slot_are_added(made) -> None:
    rows, data, _ = made("y,a,b,c\n1,1,2,3\n0,4,5,6\n", {"hashed": ["a", "b", "c"], "bits": 1})
    assert rows.X.sum(axis=1).tolist() == [3, 3]
    assert rows.X.max() >= 2
    assert data.nnz == np.count_nonzero(rows.X)  # a slot is stored once in a row


def test_min_count_and_unseen_levels(made) -> None:
    text = "y,c\n1,a\n0,a\n1,b\n0,\n1,\n"
    rows, _, names = made(text, {"one_hot": ["c"], "min_count": 2})
    assert names == ["c=<missing>", "c=a"]
    np.testing.assert_array_equal(rows.X, [[0, 1], [0, 1], [0, 0], [1, 0], [1, 0]])
    with pytest.raises(SpecError, match="no level of 'c' occurs in 3 rows or more; lower min_count"):
        made(text, {"one_hot": ["c"], "min_count": 3})


def test_calendar_columns(made) -> None:
    text = (
        "y,year,month,day,t,h\n"
        "1,2013,1,31,2013-01-31T23:10:00Z,14102100\n"
        "0,2012,2,29,2012-02-29,13010105\n"
        "0,2013,1,,,\n"
    )
    features = {
        "one_hot": ["weekday", "hour", "their_month", "short"],
        "derive": {
            "weekday": {"columns": ["year", "month", "day"], "part": "weekday"},
            "hour": {"column": "t", "part": "hour"},
            "their_month": {"column": "t", "part": "month"},
            "short": {"column": "h", "layout": "%y%m%d%H", "part": "day"},
        },
    }
    rows, _, names = made(text, features)
    on = [{names[j] for j in np.flatnonzero(row)} for row in rows.X]
    assert on == [
        {"weekday=Thu", "hour=23", "their_month=1", "short=21"},
        {"weekday=Wed", "hour=0", "their_month=2", "short=1"},
        {"weekday=<missing>", "hour=<missing>", "their_month=<missing>", "short=<missing>"},
    ]


@pytest.mark.parametrize(
    ("row", "calendar"),
    [
        ("2013,2,30,x", {"columns": ["year", "month", "day"], "part": "weekday"}),
        ("2013,2,3,x", {"column": "t", "part": "hour"}),
        ("2013,2,3,2013-02-03", {"column": "t", "layout": "%y%m", "part": "month"}),
    ],
)
def test_text_that_is_no_date(made, row: str, calendar: dict) -> None:
    text = f"y,year,month,day,t\n1,2013,2,1,{'1302' if 'layout' in calendar else '2013-02-01'}\n0,{row}\n"
    with pytest.raises(DataError, match=r"f\.csv:3: column .* needed a date"):
        made(text, {"hashed": ["when"], "derive": {"when": calendar}})


def test_rules_classes_and_missing_labels(made) -> None:
    text = "y,n\n20,1\n,2\n3,3\nNA,4\n15.5,5\n"
    rows, data, _ = made(text, {"numeric": ["n"]}, label={"column": "y", "rule": "> 15"})
    assert rows.y.tolist() == [1, 0, 1]
    assert rows.line.tolist() == [2, 4, 6]
    assert data.dropped == {"label y missing": 2}
    assert data.rows_read == 5
    rows, data, _ = made("y,n\nred,1\nblue,2\n,3\nred,4\n", {"numeric": ["n"]})
    assert data.classes == ("blue", "red")
    assert rows.y.tolist() == [1, 0, 1]
    rows, data, _ = made("y,n\n2,1\n10,2\n", {"numeric": ["n"]}, label={"column": "y", "text": True})
    assert data.classes == ("10", "2")
    assert rows.y.tolist() == [1, 0]


LISTED = {"column": "y", "separator": "|"}


def test_a_column_of_targets_for_each_label_of_a_list(made) -> None:
    text = "y,n\nsport|news,1\n,2\nNA,3\n news | ,4\nnews|news|arts,5\n"
    rows, data, _ = made(text, {"numeric": ["n"]}, label=LISTED)
    assert data.classes == ("arts", "news", "sport")
    assert data.n_labels == 3
    assert data.labels is None
    assert rows.y.tolist() == [[0, 1, 1], [0, 0, 0], [0, 1, 0], [1, 1, 0]]
    assert rows.line.tolist() == [2, 3, 5, 6]  # an empty field is a row without labels, a missing one is dropped
    assert data.dropped == {"label y missing": 1}
    rows, data, _ = made('y,n\n"10,9",1\n"2,9",2\n', {"numeric": ["n"]}, label={"column": "y", "separator": ","})
    assert data.classes == ("2", "9", "10")
    assert rows.y.tolist() == [[0, 1, 1], [1, 1, 0]]


@pytest.mark.parametrize("as_lists", [True, False])
def test_labels_of_a_parquet_column(tmp_path, read_back, as_lists) -> None:
    lists = [["news", "sport"], [], None, ["news"], [" arts ", None, ""]]
    texts = [None if items is None else "|".join(item or "" for item in items) for items in lists]
    table = pa.table({"y": lists if as_lists else texts, "n": [1.0, 2.0, 3.0, 4.0, 5.0]})
    pq.write_table(table, tmp_path / "f.parquet", row_group_size=2)
    data = ingest(tmp_path / "f.parquet", tmp_path / "s", "parquet", label=LISTED, features={"numeric": ["n"]})
    assert data.classes == ("arts", "news", "sport")
    rows = read_back(data)
    assert rows.y.tolist() == [[0, 1, 1], [0, 0, 0], [0, 1, 0], [1, 0, 0]]
    assert rows.line.tolist() == [1, 2, 4, 5]
    pq.write_table(pa.table({"y": [[[1]], [[2]]], "n": [1.0, 2.0]}), tmp_path / "f.parquet")
    with pytest.raises(DataError, match=r"column 'y': found lists of list.*, needed lists of text"):
        ingest(tmp_path / "f.parquet", tmp_path / "t", "parquet", label=LISTED, features={"numeric": ["n"]})


def test_files_without_any_label(made) -> None:
    with pytest.raises(
        DataError, match="every label in the column 'y' is missing; needed some; check the name of the c"
    ):
        made("y,n\n,1\nNA,2\n", {"numeric": ["n"]}, label=LISTED)


def test_targets_that_are_too_many_for_a_block(made, monkeypatch) -> None:
    monkeypatch.setattr(labels, "_ROOM", 47)
    with pytest.raises(
        DataError, match=r"2 rows with a target for each of 3 labels take more than .* smaller block_bytes"
    ):
        made("y,n\na|b,1\nc,2\n", {"numeric": ["n"]}, label=LISTED)


def test_a_label_that_is_no_number_among_numbers(made) -> None:
    with pytest.raises(DataError, match=r"f\.csv:3: column 'y': found 'x', needed a finite number.*text = true"):
        made("y,n\n1,1\nx,2\n", {"numeric": ["n"]})


def test_weights_and_offsets(made) -> None:
    text = "y,n,w,e\n1,1,0,2\n0,2,1.5,3\n"
    rows, data, _ = made(text, {"numeric": ["n"]}, weight="w", offset="e")
    assert rows.weight.tolist() == [0, 1.5]
    assert rows.offset.tolist() == [2, 3]
    assert data.weight == 1.5
    rows, _, _ = made(text, {"numeric": ["n"]}, offset={"column": "e", "transform": "log"})
    assert rows.offset.tolist() == [log(2), log(3)]
    assert rows.weight is None


@pytest.mark.parametrize(
    ("text", "data", "words"),
    [
        ("y,n,w\n1,1,1\n0,2,-1\n", {"weight": "w"}, "f.csv:3: column 'w': found '-1', needed a weight of at least 0"),
        ("y,n,w\n1,1,1\n0,2,\n", {"weight": "w"}, "f.csv:3: column 'w': found '', needed a weight of at least 0"),
        ("y,n,w\n1,1,1\n0,2,nan\n", {"weight": "w"}, "f.csv:3: column 'w': found 'nan', needed a weight"),
        ("y,n,w\n1,1,0\n0,2,0\n", {"weight": "w"}, "weight"),
        ("y,n,e\n1,1,1\n0,2,\n", {"offset": "e"}, "f.csv:3: column 'e': found '', needed a number as the offset"),
        ("y,n,e\n1,1,1\n0,2,0\n", {"offset": {"column": "e", "transform": "log"}}, "f.csv:3: column 'e'"),
        ("y,n\n1,1\n0,two\n", {}, "f.csv:3: column 'n': found 'two', needed a finite number"),
        ("y,n\n1,1\n0,inf\n", {}, "f.csv:3: column 'n': found 'inf', needed a finite number"),
        ("y,n\n1,1\n0,1e39\n", {"dtype": "float32"}, "f.csv:3: found the value 1e+39 of feature 0"),
        ("y,n\n,1\n,1\n", {}, "2 label y missing"),
        ("y,n\n", {}, "no rows are left"),
        ("", {}, "the file is empty"),
        ("yy,n\n1,1\n", {}, "there is no column 'y'; the nearest is 'yy'"),
        (
            "y;n;m\n1;1;1\n",
            {},
            "if that is what separates columns, set delimiter = ';'",
        ),
        ("z\n1\n", {}, "there is no column 'y'; the nearest is 'z'"),
        ("y,num\n1,1\n", {}, "there is no column 'n'; the nearest is 'num'"),
        ("y,n\n1,1,1\n", {}, "f.csv:2: found 3 fields, needed 2"),
    ],
)
def test_refuses_bad_data(made, text: str, data: dict, words: str) -> None:
    with pytest.raises(DataError) as caught:
        made(text, {"numeric": ["n"]}, **data)
    assert words in str(caught.value)


def test_refuses_the_label_as_a_feature_and_shadowed_columns(made) -> None:
    with pytest.raises(SpecError, match="the label 'y' is also a feature"):
        made(TEXT, {"numeric": ["n"], "crosses": [["c", "y"]]})
    derive = {"c": {"column": "d", "part": "year"}}
    with pytest.raises(SpecError, match=r"derive\.c: .* has a column of that name"):
        made(TEXT, {"hashed": ["c"], "derive": derive})


def test_columns_are_found_by_name_in_each_file(tmp_path, read_back) -> None:
    (tmp_path / "a.csv").write_text("y,n\n1,5\n")
    (tmp_path / "b.csv").write_text("n,extra,y\n6,0,0\n")
    data = ingest(
        [tmp_path / "a.csv", tmp_path / "b.csv"], tmp_path / "s", "csv", label="y", features={"numeric": ["n"]}
    )
    rows = read_back(data)
    assert rows.X[:, 0].tolist() == [5, 6]
    assert rows.y.tolist() == [1, 0]
    assert rows.file.tolist() == [0, 1]
    assert data.files == ("a.csv", "b.csv")
