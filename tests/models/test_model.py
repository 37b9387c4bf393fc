"""Models: saved and loaded whole, predicting for every kind of rows, refused when damaged or foreign."""

import json
import shutil

import numpy as np
import pytest
import scipy.sparse as sp

import blockdot as bd
from blockdot.errors import DataError, StoreError


@pytest.fixture
def fitted(tmp_path):
    path = tmp_path / "train.csv"
    rng = np.random.default_rng(0)
    rows = [f"{rng.integers(0, 50)},{rng.choice(['a', 'b', 'c'])},{rng.choice(['yes', 'no'])}" for _ in range(200)]
    path.write_text("age,group,bought\n" + "\n".join(rows) + "\n")
    features = {"numeric": ["age"], "hashed": ["group"], "bits": 6}
    data = bd.ingest(path, tmp_path / "train.blocks", "csv", label="bought", features=features)
    return path, data, bd.LogisticRegression(alpha=1e-2, max_iter=1000).fit(data).model_


def test_a_model_survives_saving_and_has_the_same_bytes_twice(fitted, tmp_path):
    path, data, model = fitted
    model.save(tmp_path / "one")
    loaded = bd.load_model(tmp_path / "one")
    loaded.save(tmp_path / "two")
    for name in ("model.json", "weights.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert np.array_equal(loaded.raw(data), model.raw(data))
    assert np.array_equal(loaded.raw(path), model.raw(data))
    assert set(loaded.predict([path])) <= {"yes", "no"}
    np.testing.assert_allclose(loaded.predict_proba(path).sum(axis=1), 1)
    with pytest.raises(StoreError, match="exists already"):
        model.save(tmp_path / "one")


def test_matrices_and_data_sets_are_predicted_alike(fitted):
    _, data, model = fitted
    block = data.source.block(0)
    X = sp.csr_array((block.n_rows, data.n_features)).tolil()
    local = block.X.to_scipy().toarray()
    X[:, block.columns] = local
    np.testing.assert_allclose(model.raw(X.tocsr()), model.raw(data), rtol=1e-12)
    with pytest.raises(DataError, match="X has 3 features; the model was fitted to"):
        model.raw(np.zeros((2, 3)))


def test_features_are_matched_by_id():
    est = bd.LinearRegression(tol=1e-12, max_iter=1000).fit(np.array([[0.0, 1], [2, 0], [1, 1]]), [3.0, 4, 5])
    other = bd.Dataset.from_arrays(sp.csr_array(np.array([[0.0, 5.0]])))
    np.testing.assert_allclose(est.model_.raw(other), [5 * est.coef_[1] + est.intercept_])


def test_the_constant_model_predicts_the_training_mean(fitted):
    _, data, model = fitted
    p = model.constant().predict_proba(data)[:, 1]
    labels = data.source.block(0).y
    np.testing.assert_allclose(p, labels.mean(), rtol=1e-12)


def test_another_feature_spec_is_refused(fitted, tmp_path):
    path, _, model = fitted
    features = {"numeric": ["age"], "hashed": ["group"], "bits": 7}
    other = bd.ingest(path, tmp_path / "other.blocks", "csv", label="bought", features=features)
    with pytest.raises(StoreError, match=r"other\.blocks was ingested with another feature spec"):
        model.raw(other)


def test_raw_files_need_a_feature_spec(tmp_path):
    model = bd.LinearRegression().fit(np.eye(3), [1.0, 2, 3]).model_
    with pytest.raises(DataError, match="fitted to arrays"):
        model.raw(tmp_path / "a.csv")
    with pytest.raises(DataError, match="no classes"):
        model.predict_proba(np.eye(3))


def damage_weights(folder):
    content = bytearray((folder / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(content)


def swap_in_a_pickle(folder):
    (folder / "weights.safetensors").write_bytes(b"\x80\x04\x95cos\nsystem\n")


def edit(change):
    def apply(folder):
        content = json.loads((folder / "model.json").read_text())
        change(content)
        (folder / "model.json").write_text(json.dumps(content))

    return apply


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (damage_weights, "weights.safetensors was altered"),
        (swap_in_a_pickle, "weights.safetensors was altered"),
        (lambda f: (f / "weights.safetensors").unlink(), "weights.safetensors is missing"),
        (lambda f: (f / "model.json").unlink(), "model.json is missing"),
        (lambda f: (f / "model.json").write_text("{"), "model.json is not valid JSON"),
        (lambda f: (f / "model.json").write_text('{"model": 1, "model": 2}'), "'model' occurs twice"),
        (lambda f: (f / "model.json").write_text("[]"), "does not describe a model"),
        (edit(lambda c: c["model"].update(loss="huber-ish")), "loss"),
        (edit(lambda c: c["model"].update(options={"delta": 1.0})), "no option 'delta'"),
        (edit(lambda c: c["model"].update(version=3)), "version"),
        (edit(lambda c: c["model"].update(code="import os")), "code"),
        (edit(lambda c: c["model"].update(n_features=1)), "wrong type, shape or order"),
        (
            edit(lambda c: c["model"].update(labels=[0.0, 1.0, 2.0])),
            "model.json: 3 labels for the loss logistic, which needs 2",
        ),
        (edit(lambda c: c["model"].update(labels=None)), "model.json: 0 labels for the loss logistic, which needs 2"),
        (
            edit(lambda c: c["model"].update(classes=["a"])),
            "model.json: 1 classes for the loss logistic, which needs 2",
        ),
        (
            edit(lambda c: c["model"].update(class_shares=[])),
            "model.json: 0 class_shares for the loss logistic, which needs 2",
        ),
        (
            edit(lambda c: c["model"].update(constant=[0.0, 1.0])),
            "model.json: 2 constant for the loss logistic, which needs 1",
        ),
        (shutil.rmtree, "is not a model directory"),
    ],
)
def test_a_damaged_model_is_refused_with_its_path(fitted, tmp_path, harm, words):
    fitted[2].save(tmp_path / "model")
    harm(tmp_path / "model")
    with pytest.raises(StoreError, match=words) as error:
        bd.load_model(tmp_path / "model")
    assert str(tmp_path / "model") in str(error.value)
