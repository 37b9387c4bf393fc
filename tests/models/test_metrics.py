"""Exact metrics: any cut equals the whole, and the whole equals scikit-learn."""

import math
from functools import reduce
from operator import add

import numpy as np
import pytest
import sklearn.metrics as peer
from hypothesis import given, settings
from hypothesis import strategies as st

from blockdot.errors import DataError
from blockdot.models.metrics import ClassificationSums, Moments, MultilabelSums, RegressionSums


def close(value):
    return pytest.approx(value, rel=1e-10, abs=1e-12)


@st.composite
def cut_rows(draw, classes):
    """Rows with many ties and some zero weights, and where to cut them."""
    n = draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    score = np.round(rng.normal(size=n) * 3, draw(st.sampled_from([0, 1, 8])))
    y = rng.integers(0, 2, n).astype(float) if classes else rng.normal(size=n) * 2 + draw(st.sampled_from([0.0, 1e6]))
    weight = draw(st.sampled_from([np.ones(n), rng.integers(0, 4, n).astype(float), rng.random(n)]))
    cuts = sorted(draw(st.lists(st.integers(0, n), max_size=5)))
    return y, score, weight, cuts


def summed(sums, columns, cuts):
    """Blocks added as a balanced tree."""
    parts = [sums.of(*block) for block in zip(*(np.split(c, cuts) for c in columns), strict=True)]
    while len(parts) > 1:
        parts = [reduce(add, parts[i : i + 2]) for i in range(0, len(parts), 2)]
    return parts[0].finish()


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == (None if value is None else close(value)), name


@settings(deadline=None, max_examples=200)
@given(cut_rows(classes=True))
def test_any_cut_of_classification_equals_the_whole(rows):
    *columns, cuts = rows
    assert_same(summed(ClassificationSums, columns, cuts), ClassificationSums.of(*columns).finish())


@settings(deadline=None, max_examples=200)
@given(cut_rows(classes=False))
def test_any_cut_of_regression_equals_the_whole(rows):
    *columns, cuts = rows
    found, whole = summed(RegressionSums, columns, cuts), RegressionSums.of(*columns).finish()
    for name, value in whole.items():
        assert found[name] == (None if value is None else pytest.approx(value, rel=1e-7)), name


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("decimals", [0, 1, 9])
@pytest.mark.parametrize("weighted", [False, True])
def test_classification_equals_scikit_learn(seed, decimals, weighted):
    rng = np.random.default_rng(seed)
    z = np.round(rng.normal(size=200) * 2, decimals)
    y = (rng.random(200) < 1 / (1 + np.exp(-z))).astype(int)
    weight = np.where(rng.random(200) < 0.2, 0.0, rng.random(200)) if weighted else None
    found = ClassificationSums.of(y, z, weight).finish()
    assert_same(
        found,
        {
            "rows": 200,
            "weight": 200.0 if weight is None else weight.sum(),
            "log_loss": peer.log_loss(y, 1 / (1 + np.exp(-z)), sample_weight=weight),
            "accuracy": peer.accuracy_score(y, z > 0, sample_weight=weight),
            "roc_auc": peer.roc_auc_score(y, z, sample_weight=weight),
            "average_precision": peer.average_precision_score(y, z, sample_weight=weight),
        },
    )


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("weighted", [False, True])
def test_regression_equals_scikit_learn(seed, weighted):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=150) * 4 + 7
    prediction = y + rng.normal(size=150)
    weight = rng.random(150) if weighted else None
    assert_same(
        RegressionSums.of(y, prediction, weight).finish(),
        {
            "rows": 150,
            "weight": 150.0 if weight is None else weight.sum(),
            "rmse": peer.root_mean_squared_error(y, prediction, sample_weight=weight),
            "mae": peer.mean_absolute_error(y, prediction, sample_weight=weight),
            "r2": peer.r2_score(y, prediction, sample_weight=weight),
        },
    )


@settings(deadline=None)
@given(cut_rows(classes=True), cut_rows(classes=False))
def test_integer_weights_equal_repeated_rows(labelled, measured):
    for sums, (y, score, weight, _) in ((ClassificationSums, labelled), (RegressionSums, measured)):
        times = np.ceil(weight).astype(int)
        found = sums.of(y, score, times).finish()
        expected = sums.of(np.repeat(y, times), np.repeat(score, times)).finish()
        assert found.pop("rows") == y.size
        assert expected.pop("rows") == times.sum()
        for name, value in expected.items():
            assert found[name] == (None if value is None else pytest.approx(value, rel=1e-7, abs=1e-12)), name


def test_ties_between_blocks_count_half():
    halves = ClassificationSums.of([1.0], [2.0]) + ClassificationSums.of([0.0], [2.0])
    assert halves.finish()["roc_auc"] == 0.5
    assert halves.ranking.scores.tolist() == [2.0]
    assert (ClassificationSums.of([1], [-0.0]) + ClassificationSums.of([0], [0.0])).finish()["roc_auc"] == 0.5


def test_the_loss_keeps_its_digits_in_the_tails():
    def loss(y, z):
        return ClassificationSums.of([y], [z]).finish()["log_loss"]

    assert loss(0, 1e4) == 1e4
    assert loss(1, -1e4) == 1e4
    assert loss(1, 1e4) == 0.0
    assert loss(1, 50.0) == pytest.approx(math.exp(-50.0), rel=1e-12)
    assert loss(0, -50.0) == pytest.approx(math.exp(-50.0), rel=1e-12)
    assert loss(1, 0.0) == pytest.approx(math.log(2.0), rel=1e-15)


def test_a_score_of_zero_predicts_0():
    assert ClassificationSums.of([0], [0.0]).finish()["accuracy"] == 1.0
    assert ClassificationSums.of([1], [0.0]).finish()["accuracy"] == 0.0


def test_what_is_undefined_is_none_and_nothing_warns():
    ones = ClassificationSums.of([1, 1], [0.3, -2.0]).finish()
    assert ones["roc_auc"] is None
    assert ones["average_precision"] == 1.0
    zeros = ClassificationSums.of([0, 0], [0.3, -2.0]).finish()
    assert zeros["roc_auc"] is None
    assert zeros["average_precision"] is None
    assert zeros["accuracy"] == 0.5
    hidden = ClassificationSums.of([0, 1], [0.3, -2.0], [1.0, 0.0]).finish()  # the other class has no weight
    assert hidden["roc_auc"] is None
    for nothing in (ClassificationSums.empty(), ClassificationSums.of([0, 1], [1.0, 2.0], [0.0, 0.0])):
        assert {v for k, v in nothing.finish().items() if k not in ("rows", "weight")} == {None}
    for nothing in (RegressionSums.empty(), RegressionSums.of([0.0, 1.0], [1.0, 2.0], [0.0, 0.0])):
        assert {v for k, v in nothing.finish().items() if k not in ("rows", "weight")} == {None}


def test_r2_of_a_constant_is_none_also_across_blocks_and_beside_weightless_rows():
    block = RegressionSums.of([7.3, 0.1, 0.1, 0.1], [1.0, 0.2, 0.3, 0.1], [0.0, 0.3, 0.7, 0.1])
    total = reduce(add, [block] * 7)
    assert total.finish()["r2"] is None
    assert total.finish()["mae"] > 0.0
    assert (block + RegressionSums.of([0.2], [0.2])).finish()["r2"] is not None


def test_the_variance_does_not_cancel():
    y = 1e9 + np.arange(1000.0)
    moments = reduce(add, (Moments.of(part, np.ones(part.size)) for part in np.array_split(y, 13)))
    assert moments.mean == pytest.approx(1e9 + 499.5, rel=1e-15)
    assert moments.squares == pytest.approx(1000 * (1000**2 - 1) / 12, rel=1e-12)


def test_empty_changes_nothing():
    rng = np.random.default_rng(0)
    y, z, s = rng.integers(0, 2, 40), rng.normal(size=40), rng.random(40)
    for sums in (ClassificationSums, RegressionSums):
        one = sums.of(y, z, s)
        assert (one + sums.empty()).finish() == (sums.empty() + one).finish() == one.finish()
        assert (one + sums.of([], [])).finish() == one.finish()


def test_what_is_handed_in_is_not_written_to():
    columns = [np.array([0.0, 1.0, 1.0]), np.array([3.0, 1.0, 2.0]), np.array([1.0, 0.0, 2.0])]
    for column in columns:
        column.flags.writeable = False
    one = ClassificationSums.of(*columns)
    other = ClassificationSums.of(*columns)
    before = one.ranking.positive.copy()
    assert (one + other).finish()["weight"] == 6.0
    assert (one.ranking.positive == before).all()
    RegressionSums.of(*columns)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (([0, 1], [1.0]), "same length"),
        (([0, 1], [1.0, 2.0], [1.0]), "same length"),
        (([[0], [1]], [[1.0], [2.0]]), "same length"),
        (([0, 1], [1.0, math.nan]), "z must be finite, but has nan in row 1"),
        (([0, math.inf], [1.0, 1.0]), "y must be finite"),
        (([0, 1], [1.0, 1.0], [1.0, math.inf]), "weight must be finite"),
        (([0, 1], [1.0, 1.0], [-1.0, 1.0]), "0 or more, but weight has -1.0 in row 0"),
        (([0, 2], [1.0, 1.0]), "labels must be 0 or 1, but y has 2.0 in row 1"),
    ],
)
def test_rows_that_no_metric_can_use_are_refused(columns, words):
    with pytest.raises(DataError, match=words):
        ClassificationSums.of(*columns)


def labelled_rows(seed, n=120, labels=4, decimals=1):
    """Scores with ties, and for each label rows with it and without."""
    rng = np.random.default_rng(seed)
    z = np.round(rng.normal(size=(n, labels)) * 2 + np.linspace(-2, 1, labels), decimals)
    y = (rng.random((n, labels)) < 1 / (1 + np.exp(-z))).astype(float)
    y[:2] = [[0.0] * labels, [1.0] * labels]
    weight = rng.integers(0, 4, n).astype(float)
    weight[:2] = 1.0
    return y, z, weight


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("weighted", [False, True])
def test_labels_equal_scikit_learn(seed, weighted):
    y, z, weight = labelled_rows(seed)
    weight = weight if weighted else None
    s = np.ones(len(y)) if weight is None else weight
    answer, p = (z > 0).astype(int), 1 / (1 + np.exp(-z))
    expected = {
        "rows": len(y),
        "weight": s.sum(),
        "log_loss": sum(peer.log_loss(y[:, c], p[:, c], sample_weight=weight) for c in range(4)),
        "accuracy": peer.accuracy_score(y, answer, sample_weight=weight),
        "hamming_loss": peer.hamming_loss(y, answer, sample_weight=weight),
    }
    for average in ("micro", "macro"):
        expected |= {
            f"f1_{average}": peer.f1_score(y, answer, average=average, sample_weight=weight),
            f"roc_auc_{average}": peer.roc_auc_score(y, z, average=average, sample_weight=weight),
            f"average_precision_{average}": peer.average_precision_score(y, z, average=average, sample_weight=weight),
        }
    assert_same(MultilabelSums.of(y, z, weight).finish(), expected)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.lists(st.integers(0, 40), max_size=5))
def test_any_cut_of_labels_equals_the_whole_and_weights_are_repeated_rows(seed, n, cuts):
    y, z, weight = (column[:n] for column in labelled_rows(seed, n=max(n, 2)))
    whole = MultilabelSums.of(y, z, weight).finish()
    assert_same(summed(MultilabelSums, (y, z, weight), sorted(min(cut, n) for cut in cuts)), whole)
    times = weight.astype(int)
    repeated = MultilabelSums.of(np.repeat(y, times, axis=0), np.repeat(z, times, axis=0)).finish()
    assert repeated.pop("rows") == times.sum()
    whole.pop("rows")
    assert_same(repeated, whole)


def test_a_mean_over_labels_is_over_those_that_have_a_value():
    y = np.array([[0.0, 1.0, 0.0], [0.0, 1.0, 1.0], [0.0, 1.0, 0.0]])
    z = np.array([[-1.0, 1.0, -2.0], [-2.0, 2.0, -1.0], [-3.0, 3.0, -3.0]])
    found = MultilabelSums.of(y, z).finish()
    assert found["roc_auc_macro"] == 1.0  # of the last label: the others have one kind of rows only
    assert found["average_precision_macro"] == 1.0  # of the last two
    assert found["f1_macro"] == 0.5 == peer.f1_score(y, z > 0, average="macro", zero_division=np.nan)
    none = MultilabelSums.of(np.zeros((2, 2)), -np.ones((2, 2))).finish()
    for name in ("f1", "roc_auc", "average_precision"):
        assert none[f"{name}_macro"] is None
        assert none[f"{name}_micro"] is None
    assert none["accuracy"] == 1.0
    assert none["hamming_loss"] == 0.0
    nothing = MultilabelSums.of(y, z, np.zeros(3)).finish()
    assert {value for name, value in nothing.items() if name not in ("rows", "weight")} == {None}


def test_labels_other_than_0_and_1_are_no_labels():
    with pytest.raises(DataError, match=r"labels must be 0 or 1, but y has 2.0 in row 1"):
        MultilabelSums.of(np.array([[0.0, 1.0], [1.0, 2.0]]), np.zeros((2, 2)))
