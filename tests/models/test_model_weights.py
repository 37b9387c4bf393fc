"""Weights that agree with their checksum and are wrong all the same, and models of unusual shape."""

import json

import numpy as np
import pytest
import safetensors.numpy

import blockdot as bd
from blockdot.blocks.manifest import checksum
from blockdot.errors import StoreError


@pytest.fixture
def saved(tmp_path):
    """A model of features 1 and 3 of 5, with an intercept."""
    X = np.zeros((6, 5))
    X[:, 1], X[:3, 3] = np.arange(6), 1.0
    model = bd.LinearRegression(tol=1e-10).fit(X, np.arange(6.0) + 1).model_
    assert model.ids.tolist() == [1, 3]
    model.save(tmp_path / "model")
    return tmp_path / "model"


def put_weights(path, weights):
    """Replace the weights by bytes whose checksum is right."""
    (path / "weights.safetensors").write_bytes(weights)
    stated = json.loads((path / "model.json").read_bytes())
    (path / "model.json").write_text(json.dumps(stated | {"weights": checksum(weights)}))


SOUND = {"ids": np.array([1, 3]), "coef": np.array([1.0, 2.0]), "tail": np.array([0.5])}


def test_the_sound_weights_load(saved):
    put_weights(saved, safetensors.numpy.save(SOUND))
    assert bd.load_model(saved).dense_coef().tolist() == [0, 1, 0, 2, 0]
    assert bd.load_model(saved).intercept == 0.5


@pytest.mark.parametrize(
    "change",
    [
        {"ids": np.array([3, 1])},
        {"ids": np.array([1, 1])},
        {"ids": np.array([-1, 3])},
        {"ids": np.array([1, 5])},
        {"ids": np.array([1, 3], np.int32)},
        {"ids": np.array([1, 3], np.uint64)},
        {"ids": np.array([1])},
        {"ids": np.array([[1, 3]])},
        {"coef": np.array([1.0, np.nan])},
        {"coef": np.array([1.0, np.inf])},
        {"coef": np.array([1.0, 2.0], np.float32)},
        {"coef": np.array([1.0])},
        {"coef": np.array([[1.0, 2.0]])},
        {"tail": np.array([np.nan])},
        {"tail": np.empty(0)},
        {"tail": np.ones(2)},
        {"ids": np.array(1), "coef": np.array(1.0)},
        {"ids": None},
        {"tail": None},
    ],
    ids=str,
)
def test_wrong_arrays_are_refused(saved, change):
    arrays = {name: array for name, array in (SOUND | change).items() if array is not None}
    put_weights(saved, safetensors.numpy.save(arrays))
    with pytest.raises(StoreError, match="save the model again") as caught:
        bd.load_model(saved)
    assert str(saved / "weights.safetensors") in str(caught.value)


@pytest.mark.parametrize("weights", [b"", b"\x80\x04N.", b"\xff" * 100, b"\0" * 8], ids=["none", "pickle", "ff", "0"])
def test_what_is_no_safetensors_file(saved, weights):
    put_weights(saved, weights)
    with pytest.raises(StoreError, match="does not hold a model's weights") as caught:
        bd.load_model(saved)
    assert str(saved / "weights.safetensors") in str(caught.value)


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
def test_truncated_files(saved, name):
    content = (saved / name).read_bytes()
    for size in range(0, len(content) - 2, 37):
        (saved / name).write_bytes(content[:size])
        with pytest.raises(StoreError) as caught:
            bd.load_model(saved)
        assert str(saved / name) in str(caught.value)


def test_a_model_without_features_or_intercept(tmp_path):
    model = bd.LinearRegression(fit_intercept=False).fit(bd.Dataset.from_arrays(np.zeros((4, 3)), [1, 2, 3, 4])).model_
    model.save(tmp_path / "model")
    loaded = bd.load_model(tmp_path / "model")
    assert loaded.intercept == 0.0
    assert loaded.dense_coef().tolist() == [0, 0, 0]
    assert loaded.predict(np.ones((2, 3))).tolist() == [0, 0]
    assert loaded.constant().predict(np.ones((2, 3))).tolist() == [2.5, 2.5]


def test_nothing_in_a_model_names_the_machine(saved, tmp_path):
    text = b"".join(file.read_bytes() for file in saved.iterdir())
    assert str(tmp_path).encode() not in text
    assert sorted(file.name for file in saved.iterdir()) == ["model.json", "weights.safetensors"]
    assert [file.name for file in tmp_path.iterdir()] == ["model"]
