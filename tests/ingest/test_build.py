"""Raw files become stores: the same bytes for any number of workers, a stable split, all or nothing."""

from __future__ import annotations

import bz2
import gzip
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from blockdot.blocks.dataset import Dataset
from blockdot.blocks.threads import ThreadPool
from blockdot.errors import DataError, SpecError, StoreError
from blockdot.ingest.build import ingest, ingest_for_prediction

N = 3000


def svmlight_file(path: Path, n: int = N, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    with path.open("w") as file:
        for i in range(n):
            ids = np.unique(rng.integers(1, 60, 5))
            file.write(f"{i % 2} " + " ".join(f"{j}:{rng.normal():.3f}" for j in ids) + "\n" * (1 + (i % 7 == 0)))
    return path


def frame(n: int = N) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "y": rng.integers(0, 2, n),
            "n": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n).round(4)),
            "c": rng.choice(["a", "b", "c,d", None], n),
            "user": [f"u{i}" for i in rng.integers(0, 200, n)],
        }
    )


FEATURES = {"numeric": ["n"], "one_hot": ["c"], "hashed": ["user"], "crosses": [["c", "user"]], "bits": 10}
TABLE = {"format": "csv", "label": "y", "block_bytes": 4000}


LISTED = {"column": "y", "separator": "|"}


def tagged(table: pd.DataFrame) -> pd.DataFrame:
    """The same with any number of labels a row."""
    rng = np.random.default_rng(2)
    return table.assign(y=["|".join(rng.choice(["x", "y", "z"], rng.integers(0, 4), replace=False)) for _ in table.y])


def content(store: Path) -> dict[str, bytes]:
    return {str(file.relative_to(store)): file.read_bytes() for file in store.rglob("*") if file.is_file()}


@pytest.mark.parametrize("kind", ["svmlight", "csv", "labels", "labels of a column"])
def test_the_same_bytes_for_any_number_of_threads(tmp_path, kind: str) -> None:
    if kind in ("svmlight", "labels"):
        path, options = svmlight_file(tmp_path / "f"), {"data": {"block_bytes": 5000}}
        if kind == "labels":
            options["label"] = {"separator": ","}
            path.write_text(path.read_text().replace("\n1 ", "\n1,5 "))
    elif kind == "labels of a column":
        path, options = tmp_path / "f", {"data": TABLE | {"label": LISTED}, "features": FEATURES}
        tagged(frame()).to_csv(path, index=False)
    else:
        path, options = tmp_path / "f", {"data": TABLE, "features": FEATURES}
        frame().to_csv(path, index=False)
    made = []
    for threads in (1, 2, 5):
        outs = tmp_path / f"{threads}.train", tmp_path / f"{threads}.test"
        ingest(path, outs[0], split={"fraction": 0.3}, test_out=outs[1], pool=ThreadPool(threads), **options)
        made.append([content(out) for out in outs])
    assert len(made[0][0]) > 10
    assert made[0] == made[1] == made[2]


def test_the_rows_do_not_depend_on_the_cuts(tmp_path, read_back) -> None:
    path = svmlight_file(tmp_path / "f")
    stores = [ingest(path, tmp_path / str(size), data={"block_bytes": size}) for size in (500, 7777, 2**20)]
    a, b, c = (read_back(store) for store in stores)
    assert a.n_blocks > b.n_blocks > c.n_blocks == 1
    for other in (b, c):
        np.testing.assert_array_equal(a.X, other.X)
        np.testing.assert_array_equal(a.y, other.y)
        np.testing.assert_array_equal(a.line, other.line)
    assert len(a.y) == N
    lines = path.read_text().split("\n")
    assert [float(lines[line - 1].split()[0]) for line in a.line] == a.y.tolist()


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".zip"])
def test_compressed_files_hold_the_same_rows(tmp_path, read_back, suffix: str) -> None:
    plain = tmp_path / "f.csv"
    frame().to_csv(plain, index=False)
    packed = tmp_path / f"f.csv{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(packed, "w") as archive:
            archive.write(plain, "f.csv")
    else:
        packed.write_bytes((gzip if suffix == ".gz" else bz2).compress(plain.read_bytes()))
    a = ingest(plain, tmp_path / "a", data=TABLE, features=FEATURES)
    b = ingest(packed, tmp_path / "b", data=TABLE, features=FEATURES)
    assert content(tmp_path / "a" / "blocks") == content(tmp_path / "b" / "blocks")
    np.testing.assert_array_equal(read_back(a).X, read_back(b).X)


@pytest.mark.parametrize("group", [100, 10_000])
def test_parquet_equals_csv(tmp_path, read_back, group: int) -> None:
    rows = frame()
    rows.to_csv(tmp_path / "f.csv", index=False)
    rows.to_parquet(tmp_path / "f.parquet", row_group_size=group)
    a = read_back(ingest(tmp_path / "f.csv", tmp_path / "a", data=TABLE, features=FEATURES))
    spec = {**TABLE, "format": "parquet"}
    b = read_back(ingest(tmp_path / "f.parquet", tmp_path / "b", data=spec, features=FEATURES))
    np.testing.assert_array_equal(a.X, b.X)
    np.testing.assert_array_equal(a.y, b.y)
    np.testing.assert_array_equal(a.line - 1, b.line)
    assert b.n_blocks > 1


def test_a_table_equals_what_pandas_makes_of_it(tmp_path, read_back) -> None:
    rows = frame()
    rows.to_csv(tmp_path / "f.csv", index=False)
    spec = {**TABLE, "dtype": "float64"}
    made = read_back(
        ingest(tmp_path / "f.csv", tmp_path / "a", data=spec, features={"numeric": ["n"], "one_hot": ["c"]})
    )
    levels = rows["c"].fillna("<missing>")
    expected = np.column_stack(
        [rows["n"].fillna(0), rows["n"].isna(), *(levels == v for v in ("<missing>", "a", "b", "c,d"))]
    )
    np.testing.assert_array_equal(made.X, expected)
    np.testing.assert_array_equal(made.y, rows["y"])


def split_lines(tmp_path, path, name: str, split: dict, read_back, **options) -> tuple[np.ndarray, np.ndarray]:
    train = ingest(path, tmp_path / f"{name}.train", split=split, test_out=tmp_path / f"{name}.test", **options)
    return read_back(train).line, read_back(Dataset.open(tmp_path / f"{name}.test")).line


def test_the_split_by_fraction(tmp_path, read_back) -> None:
    path = svmlight_file(tmp_path / "f")
    split = {"fraction": 0.25, "seed": 3}
    train, test = split_lines(tmp_path, path, "a", split, read_back)
    assert sorted([*train, *test]) == read_back(ingest(path, tmp_path / "all")).line.tolist()
    assert abs(len(test) / N - 0.25) < 4 * np.sqrt(0.25 * 0.75 / N)
    again = split_lines(tmp_path, path, "b", split, read_back, data={"block_bytes": 999})
    np.testing.assert_array_equal(again[1], test)
    (tmp_path / "elsewhere").mkdir()
    moved = path.rename(tmp_path / "elsewhere" / "f")
    np.testing.assert_array_equal(split_lines(tmp_path, moved, "c", split, read_back)[1], test)
    other = split_lines(tmp_path, moved, "d", {**split, "seed": 4}, read_back)[1]
    assert set(other) != set(test)


def test_the_split_is_pinned(tmp_path, read_back) -> None:
    """The same rows for ever: a store made today and one made next year hold out the same rows."""
    (tmp_path / "f").write_text("1\n" * 40)
    _, test = split_lines(tmp_path, tmp_path / "f", "a", {"fraction": 0.2}, read_back)
    assert test.tolist() == [1, 4, 17, 20, 27, 28, 30, 35]


def test_groups_stay_together(tmp_path, read_back) -> None:
    rows = frame()
    rows.to_csv(tmp_path / "f", index=False)
    options = {"data": {**TABLE, "row_id": "user"}, "features": {"numeric": ["n"]}}
    train, test = split_lines(tmp_path, tmp_path / "f", "a", {"fraction": 0.3}, read_back, **options)
    users = rows["user"].to_numpy()
    in_train, in_test = set(users[train - 2]), set(users[test - 2])
    assert not in_train & in_test
    assert len(in_train | in_test) == rows["user"].nunique()
    assert 0.15 < len(in_test) / rows["user"].nunique() < 0.45


def test_rows_of_one_row_id_are_a_group(tmp_path, read_back) -> None:
    """Groups are the same however the files are cut, and only where a column says so."""
    rows = frame()
    rows.to_csv(tmp_path / "f", index=False)
    options = {"data": {**TABLE, "row_id": "user"}, "features": {"numeric": ["n"]}}
    found = read_back(ingest(tmp_path / "f", tmp_path / "a", **options))
    users = rows["user"].to_numpy()[found.line - 2]
    pairs = set(zip(users.tolist(), found.group.tolist(), strict=True))
    assert len(pairs) == len(set(users)) == len(set(found.group.tolist()))
    cut = {**options, "data": {**options["data"], "block_bytes": 500}}
    again = read_back(ingest(tmp_path / "f", tmp_path / "b", **cut))
    assert again.n_blocks > found.n_blocks
    np.testing.assert_array_equal(again.group, found.group)
    assert read_back(ingest(tmp_path / "f", tmp_path / "c", data=TABLE, features={"numeric": ["n"]})).group is None
    (tmp_path / "g").write_text("y,n,user\n1,2,u\n0,3,\n")
    with pytest.raises(
        DataError, match=r"g:3: column 'user': found '', needed a value, because rows are held together"
    ):
        ingest(tmp_path / "g", tmp_path / "d", **options)
    with pytest.raises(DataError, match="there is no column 'users'; the nearest is 'user'"):
        ingest(tmp_path / "g", tmp_path / "d", data={**TABLE, "row_id": "users"}, features={"numeric": ["n"]})


def test_the_split_by_column(tmp_path, read_back) -> None:
    rows = frame()
    rows["day"] = np.arange(N) % 5
    rows.to_csv(tmp_path / "f", index=False)
    options = {"data": TABLE, "features": FEATURES}
    train, test = split_lines(tmp_path, tmp_path / "f", "a", {"column": "day", "test": [3, 4]}, read_back, **options)
    np.testing.assert_array_equal(np.unique((test - 2) % 5), [3, 4])
    np.testing.assert_array_equal(np.unique((train - 2) % 5), [0, 1, 2])
    assert len(train) + len(test) == N


def test_the_vocabulary_is_of_the_training_rows(tmp_path) -> None:
    (tmp_path / "f").write_text("y,c,day\n1,a,1\n0,b,2\n,c,1\n0,d,1\n")
    options = {"data": TABLE, "features": {"one_hot": ["c"]}, "split": {"column": "day", "test": ["2"]}}
    made = ingest(tmp_path / "f", tmp_path / "a", test_out=tmp_path / "b", **options)
    assert made.features is not None
    assert made.features["vocabularies"] == {"c": ["a", "d"]}


@pytest.mark.parametrize(("test", "side"), [("1", "training"), ("9", "test")])
def test_a_split_that_leaves_a_side_empty(tmp_path, test: str, side: str) -> None:
    (tmp_path / "f").write_text("y,n,day\n1,2,1\n0,3,1\n")
    with pytest.raises(DataError, match=side):
        ingest(
            tmp_path / "f",
            tmp_path / "a",
            data=TABLE,
            features={"numeric": ["n"]},
            split={"column": "day", "test": [test]},
            test_out=tmp_path / "b",
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f"]


def test_an_error_leaves_nothing(tmp_path) -> None:
    path = svmlight_file(tmp_path / "f")
    with path.open("a") as file:
        file.write("1 5:x\n")
    with pytest.raises(DataError, match=r"column 5: found 'x'"):
        ingest(path, tmp_path / "a", data={"block_bytes": 1000}, split={"fraction": 0.5}, test_out=tmp_path / "b")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f"]


def test_a_store_is_replaced_only_on_request(tmp_path) -> None:
    path = svmlight_file(tmp_path / "f", 20)
    ingest(path, tmp_path / "a")
    before = content(tmp_path / "a")
    svmlight_file(tmp_path / "f", 10)
    with pytest.raises(StoreError, match="exists already"):
        ingest(path, tmp_path / "a")
    assert content(tmp_path / "a") == before
    assert ingest(path, tmp_path / "a", overwrite=True).n_rows == 10


def test_progress(tmp_path) -> None:
    calls: list[tuple[int, int | None]] = []
    path = svmlight_file(tmp_path / "f")
    ingest(path, tmp_path / "a", data={"block_bytes": 20_000}, progress=lambda done, n: calls.append((done, n)))
    total = len(calls)
    assert total > 3
    assert calls == [(i, total) for i in range(1, total + 1)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"features": {"numeric": ["n"]}}, "svmlight"),
        ({"format": "csv"}, "features"),
        ({"split": {"fraction": 0.5}}, "split and test_out go together"),
        ({"test_out": "b"}, "split and test_out go together"),
        ({"split": {"column": "c", "test": ["1"]}, "test_out": "b"}, "svmlight files have no columns"),
        ({"format": "yaml"}, "format"),
    ],
)
def test_options_that_do_not_go_together(tmp_path, monkeypatch, options: dict, words: str) -> None:
    monkeypatch.chdir(tmp_path)
    svmlight_file(tmp_path / "f", 5)
    with pytest.raises(SpecError, match=words):
        ingest("f", "a", **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f"]


def test_prediction_makes_the_same_features_of_other_files(tmp_path, read_back) -> None:
    rows = frame()
    rows.to_csv(tmp_path / "f.csv", index=False)
    made = ingest(tmp_path / "f.csv", tmp_path / "a", data=TABLE, features=FEATURES)
    assert made.features is not None
    rows.drop(columns="y").to_csv(tmp_path / "g.csv", index=False)
    other = ingest_for_prediction(tmp_path / "g.csv", tmp_path / "b", made.features)
    assert not other.has_y
    assert other.features == made.features
    np.testing.assert_array_equal(read_back(other).X, read_back(made).X)


def test_prediction_keeps_rows_without_a_label_and_knows_no_new_level(tmp_path, read_back) -> None:
    (tmp_path / "f.csv").write_text("y,c\nyes,a\nno,b\n,a\n")
    made = ingest(tmp_path / "f.csv", tmp_path / "a", data=TABLE, features={"one_hot": ["c"]})
    (tmp_path / "g.csv").write_text("y,c\n,a\nno,new\nyes,b\n")
    scored = ingest_for_prediction(tmp_path / "g.csv", tmp_path / "b", made.features)
    assert read_back(scored).X.tolist() == [[1, 0], [0, 0], [0, 1]]
    evaluated = ingest_for_prediction(tmp_path / "g.csv", tmp_path / "c", made.features, needs_label=True)
    rows = read_back(evaluated)
    assert rows.X.tolist() == [[0, 0], [0, 1]]
    assert rows.y.tolist() == [0, 1]
    assert evaluated.dropped == {"label y missing": 1}


def test_a_class_that_training_did_not_know(tmp_path) -> None:
    (tmp_path / "f.csv").write_text("y,n\nyes,1\nno,2\n")
    made = ingest(tmp_path / "f.csv", tmp_path / "a", data=TABLE, features={"numeric": ["n"]})
    (tmp_path / "g.csv").write_text("y,n\nyes,1\nmaybe,2\n")
    with pytest.raises(DataError, match=r"g\.csv:3: column 'y': found 'maybe', needed one of the classes no, yes"):
        ingest_for_prediction(tmp_path / "g.csv", tmp_path / "c", made.features, needs_label=True)


def test_labels_that_training_did_not_know(tmp_path, read_back) -> None:
    """They cannot be judged, and are passed over where rows are scored."""
    (tmp_path / "a.csv").write_text("y,n\nx|z,1\n,2\nx,3\n")
    (tmp_path / "b.csv").write_text("y,n\nz,1\nx|w,2\n")
    data = ingest(tmp_path / "a.csv", tmp_path / "a", "csv", label=LISTED, features={"numeric": ["n"]})
    known = data.features
    assert known is not None
    with pytest.raises(DataError, match=r"b\.csv:3: column 'y': found 'w', needed one of the labels x, z; mend it, or"):
        ingest_for_prediction(tmp_path / "b.csv", tmp_path / "b", known, needs_label=True)
    scored = ingest_for_prediction(tmp_path / "b.csv", tmp_path / "b", known)
    assert read_back(scored).y is None
    judged = ingest_for_prediction(tmp_path / "a.csv", tmp_path / "c", known, needs_label=True)
    assert read_back(judged).y.tolist() == [[1, 1], [0, 0], [1, 0]]


def test_svmlight_with_labels_for_prediction(tmp_path, read_back) -> None:
    (tmp_path / "a.svm").write_text("1,3 1:1\n2:1\n3 1:2\n")
    (tmp_path / "b.svm").write_text("4,3 1:7\n")
    data = ingest(tmp_path / "a.svm", tmp_path / "a", label={"separator": ","})
    known = data.features
    assert known is not None
    assert data.classes == ("1", "3")
    scored = read_back(ingest_for_prediction(tmp_path / "b.svm", tmp_path / "b", known))
    assert scored.y is None
    assert scored.X.tolist() == [[7.0]]
    with pytest.raises(DataError, match=r"b\.svm:1: found the label 4, needed one of the labels 1, 3"):
        ingest_for_prediction(tmp_path / "b.svm", tmp_path / "c", known, needs_label=True)


def test_svmlight_for_prediction(tmp_path, read_back) -> None:
    path = svmlight_file(tmp_path / "f", 50)
    made = ingest(path, tmp_path / "a", data={"n_features": 100})
    other = ingest_for_prediction(path, tmp_path / "b", made.features)
    assert made.n_features == other.n_features == 100
    np.testing.assert_array_equal(read_back(other).X, read_back(made).X)


def test_real_tables(real_data, tmp_path) -> None:
    path = real_data / "tabular" / "insurance" / "ausprivauto0405.csv.gz"
    made = ingest(
        path,
        tmp_path / "a",
        data={"format": "csv", "label": "ClaimNb", "offset": {"column": "Exposure", "transform": "log"}},
        features={"numeric": ["VehValue"], "one_hot": ["VehAge", "VehBody", "Gender", "DrivAge"]},
    )
    table = pd.read_csv(path)
    assert made.n_rows == len(table) == 67_856
    counts = table["ClaimNb"].value_counts()
    assert made.labels == tuple(sorted(float(v) for v in counts.index))
    levels = sum(table[c].nunique() for c in ("VehAge", "VehBody", "Gender", "DrivAge"))
    assert made.n_features == 2 + levels
    kdd = ingest(
        real_data / "tabular" / "kddcup.data_10_percent.gz",
        tmp_path / "b",
        data={"format": "csv", "columns": [f"c{i}" for i in range(42)], "label": "c41"},
        features={"numeric": ["c0", "c4"], "hashed": ["c1", "c2", "c3"]},
    )
    assert kdd.n_rows == 494_021
    assert kdd.classes is not None
    assert len(kdd.classes) == 23
