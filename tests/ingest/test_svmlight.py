"""The svmlight reader: equal to scikit-learn's on what both read, and exact about what it refuses."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_svmlight_file
from sklearn.preprocessing import MultiLabelBinarizer

from blockdot.errors import DataError
from blockdot.ingest import build, svmlight
from blockdot.ingest.labels import in_order
from blockdot.ingest.plan import Piece
from blockdot.ingest.rows import Rows
from blockdot.ingest.spec import DataSpec


def parse(text: str | bytes, first_line: int = 1, **options: object) -> Rows:
    data = text.encode() if isinstance(text, str) else text
    spec = DataSpec.model_validate({"format": "svmlight", **options})
    return svmlight.read(Piece("f.svm", first_line, data, None), spec)


LISTED = {"label": {"separator": ","}}


def dense(rows: Rows, width: int) -> np.ndarray:
    values = np.ones(len(rows.ids)) if rows.values is None else rows.values
    return sp.csr_array((values, rows.ids, rows.indptr), shape=(len(rows), width)).toarray()


numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats(allow_nan=False, allow_infinity=False, width=32).map(lambda v: f"{v:.17e}"),
    st.integers(-(10**25), 10**25).map(str),
    st.from_regex(re.compile(r"[+-]?[0-9]{0,22}\.[0-9]{1,22}([eE][+-]?[0-9]{1,2})?", re.ASCII), fullmatch=True),
    st.from_regex(re.compile(r"[0-9]{1,3}\.([eE][+-]?[0-9]{1,2})?", re.ASCII), fullmatch=True),
)
lines = st.tuples(
    numbers,
    st.dictionaries(st.integers(1, 40), numbers, max_size=6),
    st.sampled_from([" ", "\t", "  \t "]),
    st.sampled_from(["", "  ", " # words 1:2", "#x"]),
    st.sampled_from(["\n", "\r\n", "\n\n", "\n# a comment\n"]),
)


@settings(deadline=None)
@given(st.lists(lines, min_size=1, max_size=8), st.booleans())
def test_numbers_are_what_python_reads(content: list, last_end: bool) -> None:
    text, y, X = "", [], np.zeros((len(content), 40))
    for i, (label, entries, blank, comment, end) in enumerate(content):
        text += label + "".join(f"{blank}{j}:{entries[j]}" for j in sorted(entries)) + comment + end
        y.append(float(label))
        for j, value in entries.items():
            X[i, j - 1] = float(value)
    rows = parse(text if last_end else text.removesuffix("\n"))
    np.testing.assert_array_equal(rows.y, y)
    np.testing.assert_array_equal(dense(rows, 40), X)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(-3, 3), st.dictionaries(st.integers(1, 30), st.floats(-1e6, 1e6))), min_size=1),
    st.booleans(),
)
def test_equals_scikit_learn(content: list, zero_based: bool) -> None:
    shift = int(zero_based)
    text = "".join(
        f"{label} " + " ".join(f"{j - shift}:{row[j]!r}" for j in sorted(row)) + "\n" for label, row in content
    )
    X, y = load_svmlight_file(io.BytesIO(text.encode()), n_features=30, zero_based=zero_based)
    rows = parse(text, zero_based=zero_based)
    np.testing.assert_array_equal(rows.y, y)
    np.testing.assert_array_equal(dense(rows, 30), X.toarray())


def test_lines_are_those_of_the_file() -> None:
    rows = parse("# head\n\n1 1:2\r\n \t\n2\n# end\n3 qid:7 2:1 # c\n", first_line=100)
    assert rows.lines.tolist() == [102, 104, 106]
    assert rows.y is not None
    assert rows.y.tolist() == [1, 2, 3]
    assert dense(rows, 2).tolist() == [[2, 0], [0, 0], [0, 1]]
    assert rows.read == 3


def test_explicit_zeros_are_not_stored() -> None:
    rows = parse("+1 1:0 2:-0.0 3:0e5 4:1\n")
    assert rows.ids.tolist() == [3]
    assert rows.indptr.tolist() == [0, 1]


def test_the_table_of_powers_of_ten_is_exact() -> None:
    for k in range(-22, 23):
        rows = parse(f"1 1:9007199254740991e{k}\n")
        assert rows.values is not None
        assert rows.values[0] == float(f"9007199254740991e{k}")


@pytest.mark.parametrize(
    ("text", "options", "place", "words"),
    [
        ("1 1:2\npython 2:2\n", {}, "f.svm:2: column 1:", ["'python'", "label", "number"]),
        ("1 1:abc\n", {}, "f.svm:1: column 5:", ["'abc'", "number"]),
        ("1 1:1e\n", {}, "f.svm:1: column 5:", ["'1e'", "number"]),
        ("1 1:\n", {}, "f.svm:1: column 5:", ["number"]),
        ("1 1:1_0\n", {}, "f.svm:1: column 5:", ["'1_0'", "number"]),
        ("1 1:0x10\n", {}, "f.svm:1: column 5:", ["'0x10'", "number"]),
        ("1 x:2\n", {}, "f.svm:1: column 3:", ["'x:2'", "index:value"]),
        ("1 2.5\n", {}, "f.svm:1: column 3:", ["'2.5'", "index:value"]),
        ("1 2:1\n1:2.5 2:1\n", {}, "f.svm:2: column 1:", ["'1:2.5'", "label"]),
        ("1 2:1 2:3\n", {}, "f.svm:1: column 7:", ["2", "once"]),
        ("-1 5:2.5 2:-5.2\n", {}, "f.svm:1: column 10:", ["2", "ascending", "sort"]),
        ("1 -3:1\n", {}, "f.svm:1: column 3:", ["-3", "at least"]),
        ("1 0:1 1:2\n", {}, "f.svm:1: column 3:", ["this file counts from 0; set zero_based = true"]),
        ("1 5:1\n", {"n_features": 4}, "f.svm:1: column 3:", ["5", "at most 4", "n_features"]),
        ("1 4:1\n", {"n_features": 4, "zero_based": True}, "f.svm:1: column 3:", ["4", "at most 3", "n_features"]),
        ("1 9223372036854775808:1\n", {}, "f.svm:1: column 3:", ["9223372036854775808", "at most"]),
        ("1 1:nan\n", {}, "f.svm:1: column 5:", ["'nan'", "finite"]),
        ("1 1:-Inf\n", {}, "f.svm:1: column 5:", ["'-Inf'", "finite"]),
        ("inf 1:1\n", {}, "f.svm:1: column 1:", ["'inf'", "finite"]),
        ("1 1:1e999\n", {}, "f.svm:1: column 5:", ["finite"]),
        ("1e999 1:1\n", {}, "f.svm:1: column 1:", ["finite"]),
        ("1,0 2:2.5\n", {}, "f.svm:1: column 1:", ["1,0", "one label", 'label = { separator = "," }']),
        ("1 1:1\n1,x 2:2.5\n", LISTED, "f.svm:2: column 1:", ["'1,x' as the labels", "numbers with commas"]),
        ("1, 2:2.5\n", LISTED, "f.svm:1: column 1:", ["'1,' as the labels"]),
        (",1 2:2.5\n", LISTED, "f.svm:1: column 1:", ["',1' as the labels"]),
        ("1;2 2:2.5\n", LISTED, "f.svm:1: column 1:", ["'1;2' as the labels"]),
        ("1,1e999 2:2.5\n", LISTED, "f.svm:1: column 3:", ["finite"]),
        ("1,2 2:x\n", LISTED, "f.svm:1: column 7:", ["'x' as a value"]),
        ("2:x\n", LISTED, "f.svm:1: column 3:", ["'x' as a value"]),
        ("1 1:1\n\n# c\n  2 1:x\n", {}, "f.svm:4: column 7:", ["'x'"]),
    ],
)
def test_refuses_with_the_place(text: str, options: dict, place: str, words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        parse(text, **options)
    message = str(caught.value)
    assert message.startswith(place), message
    for word in words:
        assert word in message


def test_a_place_counts_from_the_line_of_the_piece() -> None:
    with pytest.raises(DataError, match=r"^f\.svm:52: column 5: "):
        parse("1 1:1\n1 1:x\n", first_line=51)


def test_limits_are_inclusive() -> None:
    assert parse("1 4:1\n", n_features=4).ids.tolist() == [3]
    assert parse("1 0:1 3:1\n", n_features=4, zero_based=True).ids.tolist() == [0, 3]


@pytest.mark.parametrize("name", ["a9a", "a9a.t", "agaricus.txt.train", "heart_scale"])
def test_real_files_equal_scikit_learn(real_data, name: str) -> None:
    path = real_data / "svmlight" / name
    zero_based = name.startswith("agaricus")
    X, y = load_svmlight_file(str(path), zero_based=zero_based)
    rows = parse(path.read_bytes(), zero_based=zero_based)
    np.testing.assert_array_equal(rows.y, y)
    np.testing.assert_array_equal(dense(rows, X.shape[1]), X.toarray())


def test_scikit_learn_edge_cases(real_data) -> None:
    folder = real_data / "svmlight" / "sklearn_edge"
    X, y = load_svmlight_file(str(folder / "svmlight_classification.txt"), zero_based=False)
    rows = parse((folder / "svmlight_classification.txt").read_bytes())
    np.testing.assert_array_equal(rows.y, y)
    np.testing.assert_array_equal(dense(rows, X.shape[1]), X.toarray())
    for bad in ("svmlight_invalid.txt", "svmlight_invalid_order.txt", "svmlight_multilabel.txt"):
        with pytest.raises(DataError):
            parse((folder / bad).read_bytes())


@pytest.mark.parametrize(
    ("rule", "expected"), [("> 0", [0, 1, 0, 1]), ("in [1, 3]", [0, 1, 0, 1]), ("== -1", [1, 0, 0, 0])]
)
def test_a_rule_makes_0_and_1_of_the_labels(tmp_path, rule, expected):
    path = tmp_path / "a.svm"
    path.write_text("-1 1:1\n1 1:1\n0 1:1\n3 1:1\n")
    data = build.ingest(path, tmp_path / "a.blocks", "svmlight", data={"label": {"rule": rule}})
    assert data.source.block(0).y.tolist() == expected


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(["1", "3", "-2", "2.5", "10", "1e1", "12345678901234567890"]), max_size=4),
            st.dictionaries(st.integers(1, 30), st.floats(-1e6, 1e6), min_size=1, max_size=4),
            st.sampled_from(["\n", "\r\n", "  # 7,8 1:2\n", "\n\n"]),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_any_number_of_labels_as_scikit_learn_reads_them(content: list) -> None:
    text = "".join(
        ",".join(labels) + " " + " ".join(f"{j}:{row[j]!r}" for j in sorted(row)) + end for labels, row, end in content
    )
    X, expected = load_svmlight_file(io.BytesIO(text.encode()), n_features=30, zero_based=False, multilabel=True)
    spec = DataSpec.model_validate({"format": "svmlight", **LISTED})
    piece = Piece("f.svm", 1, text.encode(), None)
    names = in_order(svmlight.labels_of(piece, spec))
    binarizer = MultiLabelBinarizer().fit(expected)
    assert [float(name) for name in names] == binarizer.classes_.tolist()
    rows = svmlight.read(piece, spec, names)
    np.testing.assert_array_equal(rows.y, binarizer.transform(expected))
    np.testing.assert_array_equal(dense(rows, 30), X.toarray())
    assert svmlight.read(piece, spec).y is None


def test_rows_without_labels_and_labels_written_in_two_ways() -> None:
    text = "3,1 2:1\n qid:4 1:2 # none\n3.0\n1:5\n"
    spec = DataSpec.model_validate({"format": "svmlight", **LISTED})
    piece = Piece("f.svm", 1, text.encode(), None)
    assert svmlight.labels_of(piece, spec) == {"1", "3"}
    rows = svmlight.read(piece, spec, ("1", "3"))
    assert rows.y.tolist() == [[1, 1], [0, 0], [0, 1], [0, 0]]
    assert dense(rows, 2).tolist() == [[0, 1], [2, 0], [0, 0], [5, 0]]
    with pytest.raises(
        DataError, match=r"^f\.svm:1: found the label 3, needed one of the labels 1, 2; mend it, or fit"
    ):
        svmlight.read(piece, spec, ("1", "2"))


def test_a_real_file_with_any_number_of_labels(real_data, tmp_path) -> None:
    path = real_data / "svmlight" / "sklearn_edge" / "svmlight_multilabel.txt"
    X, expected = load_svmlight_file(str(path), multilabel=True)
    data = build.ingest(path, tmp_path / "s", label={"separator": ","})
    binarizer = MultiLabelBinarizer().fit(expected)
    assert data.classes == tuple(f"{label:g}" for label in binarizer.classes_)
    assert data.n_labels == len(binarizer.classes_)
    np.testing.assert_array_equal(data.source.block(0).y, binarizer.transform(expected))
    assert data.n_rows == X.shape[0]
