"""Fits whose features of one row are merged: what the user sees is what it would be otherwise."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

import blockdot as bd
from blockdot.blocks import memo
from blockdot.models import fit as fits
from blockdot.models.recipe import Recipe
from blockdot.objective.merging import Merged, MergedSource, Unmerged

CLASSES = 9


def many_classes(rows=120, common=20, rare=300):
    """Rows with some common features, and rare ones that occur once each."""
    rng = np.random.default_rng(10)
    X = np.zeros((rows, common + rare))
    X[:, :common] = rng.normal(size=(rows, common)) * (rng.random((rows, common)) < 0.3)
    X[rng.integers(0, rows, rare), np.arange(common, common + rare)] = rng.normal(size=rare)
    return X, np.arange(rows) % CLASSES


def counted(monkeypatch):
    """The merged blocks that are made from now on."""
    made, block = [], MergedSource.block
    monkeypatch.setattr(MergedSource, "block", lambda self, index: made.append(index) or block(self, index))
    return made


def test_counts_that_lie_are_refused():
    X, y = many_classes()
    data = bd.Dataset.from_arrays(X, y)
    table = replace(data.table, count=np.ones_like(data.table.count))
    with pytest.raises(bd.BlockdotError, match="ingest the data again"):
        bd.LogisticRegression(alpha=0.01).fit(replace(data, table=table))


@pytest.mark.parametrize("loss", ["softmax", "one-vs-rest"])
def test_a_fit_is_the_same_merged_or_not(loss, monkeypatch):
    X, y = many_classes()
    options = {"alpha": 0.01, "tol": 1e-10, "multi_class": loss}
    told, made = [], counted(monkeypatch)
    found = bd.LogisticRegression(callbacks=[lambda s: told.append((s.w.copy(), s.grad.copy()))], **options).fit(X, y)
    assert made
    made.clear()
    monkeypatch.setattr(fits, "_MANY_OUTPUTS", 1000)
    unmerged = bd.LogisticRegression(**options).fit(X, y)
    assert not made
    np.testing.assert_allclose(found.coef_, unmerged.coef_, atol=1e-8)
    np.testing.assert_allclose(found.intercept_, unmerged.intercept_, atol=1e-8)
    k = np.count_nonzero(np.any(X != 0, axis=0))
    assert {(len(w), len(grad)) for w, grad in told} == {(CLASSES * (k + 1), CLASSES * (k + 1))}


def test_a_fit_goes_on_from_a_model(monkeypatch):
    X, y = many_classes()
    made = counted(monkeypatch)
    est = bd.LogisticRegression(alpha=0.01, tol=1e-8, warm_start=True).fit(X, y)
    first = est.coef_.copy()
    est.fit(X, y)
    assert est.n_iter_ == 0
    np.testing.assert_allclose(est.coef_, first, atol=1e-12)
    others = np.column_stack([X[:, 30:], X[:, :30] * (np.arange(len(X)) % 2)[:, np.newaxis]])  # w lies along no row's x
    best = bd.LogisticRegression(alpha=0.01, tol=1e-8).fit(others, y)
    assert made
    np.testing.assert_allclose(est.fit(others, y).coef_, best.coef_, atol=1e-6)


def test_a_fit_goes_on_from_its_checkpoint(tmp_path):
    X, y = many_classes()
    options = {"alpha": 0.01, "tol": 1e-10}
    whole = bd.LogisticRegression(**options).fit(X, y)

    class Enough(Exception):  # noqa: N818  it is no error
        pass

    def stop(state):
        if state.iteration == 2:
            raise Enough

    with pytest.raises(Enough):
        bd.LogisticRegression(**options, checkpoint=tmp_path / "kept", callbacks=[stop]).fit(X, y)
    again = bd.LogisticRegression(**options, checkpoint=tmp_path / "kept").fit(X, y)
    assert again.coef_.tobytes() == whole.coef_.tobytes()


@pytest.mark.parametrize("how", ["weights", "classes", "offsets", "labels", "float32", "free"])
def test_what_goes_with_rows_goes_with_merged_ones(how, monkeypatch):
    X, y = many_classes()
    rng = np.random.default_rng(11)
    options, given = {"alpha": 0.01, "tol": 1e-11}, {}
    if how == "weights":
        given = {"sample_weight": rng.integers(0, 3, len(y)).astype(float)}
    elif how == "classes":
        options["class_weight"] = "balanced"
    elif how == "offsets":
        options["multi_class"] = "one-vs-rest"
        given = {"offset": rng.normal(size=len(y))}
    elif how == "labels":
        y = (rng.random((len(y), CLASSES)) < 0.3).astype(float)
        y[:, 2] = 0.0  # a label that no row has
    elif how == "float32":
        X = X.astype(np.float32)
    else:
        options["fit_intercept"] = False
    made = counted(monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the label that no row has
        found = bd.LogisticRegression(**options).fit(X, y, **given).coef_
        assert made
        monkeypatch.setattr(fits, "_MANY_OUTPUTS", 1000)
        np.testing.assert_allclose(found, bd.LogisticRegression(**options).fit(X, y, **given).coef_, atol=1e-8)


def test_columns_that_are_stored_in_full_stay(monkeypatch):
    X, y = many_classes(rows=400, common=20, rare=900)
    X[:, :3] = np.random.default_rng(12).normal(size=(400, 3))
    made, block = [], MergedSource.block
    monkeypatch.setattr(MergedSource, "block", lambda self, i: made.append(block(self, i)) or made[-1])
    found = bd.LogisticRegression(alpha=0.01, tol=1e-10).fit(X, y).coef_
    assert all(each.X.n_dense == 3 for each in made)
    monkeypatch.setattr(fits, "_MANY_OUTPUTS", 1000)
    np.testing.assert_allclose(found, bd.LogisticRegression(alpha=0.01, tol=1e-10).fit(X, y).coef_, atol=1e-8)


def test_the_bits_are_those_of_any_number_of_workers(client, tmp_path, monkeypatch):
    X, y = many_classes()
    made = counted(monkeypatch)
    data = bd.Dataset.from_arrays(X, y, block_rows=17).save(tmp_path / "train.blocks")
    fitted = [bd.LogisticRegression(alpha=0.01, n_jobs=n).fit(data).coef_.tobytes() for n in (1, 2, 3)]
    assert made
    assert {*fitted, bd.LogisticRegression(alpha=0.01, client=client).fit(data).coef_.tobytes()} == {fitted[0]}


def test_the_copies_are_not_kept_where_there_is_no_room_and_the_bits_are_the_same(monkeypatch):
    X, y = many_classes()
    made = counted(monkeypatch)
    kept = bd.LogisticRegression(alpha=0.01).fit(X, y).coef_.tobytes()
    few = len(made)
    monkeypatch.setattr(memo, "_room", 2_000)  # y fits, and not the copy beside it
    assert bd.LogisticRegression(alpha=0.01).fit(X, y).coef_.tobytes() == kept
    assert len(made) > 5 * few


@pytest.mark.parametrize(
    "options",
    [{"l1_ratio": 0.5}, {"standardize": True}, {"penalty_weights": np.full(320, 2.0)}, {"lower": -1.0}],
    ids=str,
)
def test_only_a_plain_penalty_treats_them_alike(options):
    X, y = many_classes()
    data = bd.Dataset.from_arrays(X, y)
    recipe = Recipe("softmax", options={"outputs": CLASSES}, **options)
    blocks = bd.Blocks(data.source, bd.ThreadPool(1))
    with fits.merged_view(blocks, data, recipe) as (view, how):
        assert view is blocks
        assert isinstance(how, Unmerged)
    with fits.merged_view(blocks, data, Recipe("softmax", options={"outputs": CLASSES})) as (view, how):
        assert isinstance(how, Merged)
