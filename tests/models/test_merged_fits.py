"""Fits whose features of one row are merged: what the user sees is what it would be otherwise."""

import numpy as np
import pytest
from distributed import Client, LocalCluster

import blockdot as bd
from blockdot.models import fit as fits
from blockdot.models.recipe import Recipe
from blockdot.objective import merging
from blockdot.objective.merging import Merged, Unmerged

CLASSES = 9


def many_classes(rows=120, common=20, rare=300):
    """Rows with some common features, and rare ones that occur once each."""
    rng = np.random.default_rng(10)
    X = np.zeros((rows, common + rare))
    X[:, :common] = rng.normal(size=(rows, common)) * (rng.random((rows, common)) < 0.3)
    X[rng.integers(0, rows, rare), np.arange(common, common + rare)] = rng.normal(size=rare)
    return X, np.arange(rows) % CLASSES


@pytest.fixture(scope="module")
def client():
    local = {"processes": True, "threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with (
        LocalCluster(n_workers=2, worker_dashboard_address="127.0.0.1:0", **local) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.mark.parametrize("loss", ["softmax", "one-vs-rest"])
def test_a_fit_is_the_same_merged_or_not(loss, monkeypatch):
    X, y = many_classes()
    options = {"alpha": 0.01, "tol": 1e-10, "multi_class": loss}
    seen, told = [], []
    plain = merging.merged
    monkeypatch.setattr(fits, "merged", lambda *a: seen.append(1) or plain(*a))
    found = bd.LogisticRegression(callbacks=[lambda s: told.append((s.w.copy(), s.grad.copy()))], **options).fit(X, y)
    assert seen == [1]
    monkeypatch.setattr(fits, "_MANY_OUTPUTS", 1000)
    unmerged = bd.LogisticRegression(**options).fit(X, y)
    assert seen == [1]
    np.testing.assert_allclose(found.coef_, unmerged.coef_, atol=1e-8)
    np.testing.assert_allclose(found.intercept_, unmerged.intercept_, atol=1e-8)
    k = np.count_nonzero(np.any(X != 0, axis=0))
    assert {(len(w), len(grad)) for w, grad in told} == {(CLASSES * (k + 1), CLASSES * (k + 1))}


def test_a_fit_goes_on_from_a_model():
    X, y = many_classes()
    est = bd.LogisticRegression(alpha=0.01, tol=1e-8, warm_start=True).fit(X, y)
    first = est.coef_.copy()
    est.fit(X, y)
    assert est.n_iter_ == 0
    np.testing.assert_allclose(est.coef_, first, atol=1e-12)


def test_the_bits_are_those_of_any_number_of_workers(client, tmp_path):
    X, y = many_classes()
    data = bd.Dataset.from_arrays(X, y, block_rows=17).save(tmp_path / "train.blocks")
    fitted = [bd.LogisticRegression(alpha=0.01, n_jobs=n).fit(data).coef_.tobytes() for n in (1, 2, 3)]
    assert {*fitted, bd.LogisticRegression(alpha=0.01, client=client).fit(data).coef_.tobytes()} == {fitted[0]}


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
    with fits.seen(blocks, data, recipe) as (view, how):
        assert view is blocks
        assert isinstance(how, Unmerged)
    with fits.seen(blocks, data, Recipe("softmax", options={"outputs": CLASSES})) as (view, how):
        assert isinstance(how, Merged)
