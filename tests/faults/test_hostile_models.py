"""Models, prediction sets and receipts that may be anyone's: refused with their path; nothing is ever unpickled."""

import json
import os
import pickle  # noqa: TID251 - to see that such a file is not read
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from forged_stores import put_file, refuse, store_with_everything

import blockdot as bd
from blockdot.blocks.manifest import MANIFEST, checksum
from blockdot.errors import BlockdotError, StoreError
from blockdot.jobs.predictions import verified
from blockdot.jobs.run_directory import RunDirectory
from blockdot.models.model import MODEL, WEIGHTS, load_model

pytestmark = pytest.mark.timeout(60)  # a pipe that is waited for would take for ever


@pytest.fixture
def stored(tmp_path):
    return store_with_everything(tmp_path)


@pytest.fixture
def saved(tmp_path):
    X = np.random.default_rng(0).normal(size=(50, 4))
    est = bd.LogisticRegression(alpha=1e-2).fit(X, np.where(X[:, 0] > 0, "yes", "no"))
    est.model_.save(tmp_path / "model")
    return tmp_path / "model"


def model_refused(path, *words):
    with pytest.raises(StoreError) as caught:
        load_model(path)
    for word in (path, *words):
        assert str(word) in str(caught.value)


def described(change):
    """Change model.json; the checksum in it stays that of the weights."""

    def harm(path):
        content = json.loads((path / MODEL).read_text())
        change(content)
        (path / MODEL).write_text(json.dumps(content))

    return harm


def model(**values):
    return described(lambda content: content["model"].update(values))


def weighed(data):
    """Other weights, with a model.json that agrees."""

    def harm(path):
        content = data(path)
        (path / WEIGHTS).write_bytes(content)
        described(lambda m: m.update(weights=checksum(content)))(path)

    return harm


def tensors(**changes):
    def data(path):
        arrays = safetensors.numpy.load((path / WEIGHTS).read_bytes())
        return safetensors.numpy.save(arrays | {name: change(arrays) for name, change in changes.items()})

    return weighed(data)


def header(change):
    """Other safetensors headers, before the same numbers."""

    def data(path):
        content = (path / WEIGHTS).read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        head = change(json.loads(content[8 : 8 + length]))
        text = head if isinstance(head, bytes) else json.dumps(head).encode()
        return struct.pack("<Q", len(text)) + text + content[8 + length :]

    return weighed(data)


def offsets(head, name, start, stop):
    head[name]["data_offsets"] = [start, stop]
    return head


MODELS = {
    "not JSON": lambda path: (path / MODEL).write_text("{"),
    "nested without end": lambda path: (path / MODEL).write_text("[" * 200_000),
    "a list": lambda path: (path / MODEL).write_text("[]"),
    "a key twice": lambda path: (path / MODEL).write_text((path / MODEL).read_text().replace("{", '{"model": 1,', 1)),
    "NaN": model(target_mean=float("nan")),
    "an unknown key": model(more=1),
    "another format": model(format="blockdot-store"),
    "another version": model(version=99),
    "an unknown loss": model(loss="os.system"),
    "an unknown option": model(options={"__class__": 1}),
    "outputs that are none": model(loss="softmax", options={"outputs": "many"}),
    "outputs that are a fraction": model(loss="softmax", options={"outputs": 1.5}),
    "very many outputs": model(loss="softmax", options={"outputs": 10**12}),
    "three labels for two classes": model(labels=[0.0, 1.0, 2.0]),
    "three classes for two labels": model(classes=["a", "b", "c"]),
    "labels for a regression": model(loss="squared"),
    "shares of other classes": model(class_shares=[1.0]),
    "no features": model(n_features=0),
    "a negative width": model(n_features=-4),
    "no checksum": described(lambda content: content.pop("weights")),
    "weights of another model": lambda path: (path / WEIGHTS).write_bytes((path / WEIGHTS).read_bytes()[:-1] + b"x"),
    "no weights": lambda path: (path / WEIGHTS).unlink(),
    "a pipe": lambda path: ((path / WEIGHTS).unlink(), os.mkfifo(path / WEIGHTS)),
    "an empty file": weighed(lambda path: b""),
    "a header longer than the file": weighed(lambda path: struct.pack("<Q", 2**62) + (path / WEIGHTS).read_bytes()[8:]),
    "a header of 200 MB": weighed(lambda path: struct.pack("<Q", 200 * 2**20) + b" " * (200 * 2**20)),
    "a header that is not JSON": header(lambda head: b"{" * 100),
    "a header nested without end": header(lambda head: b"[" * 100_000),
    "offsets outside the file": header(lambda head: offsets(head, "coef", 0, 10**9)),
    "offsets that descend": header(lambda head: offsets(head, "coef", 64, 0)),
    "negative offsets": header(lambda head: offsets(head, "coef", -64, 0)),
    "a shape beyond the numbers": header(lambda head: head | {"coef": head["coef"] | {"shape": [2**62, 4]}}),
    "a type that NumPy lacks": header(lambda head: head | {"coef": head["coef"] | {"dtype": "BF16"}}),
    "a type that nobody knows": header(lambda head: head | {"coef": head["coef"] | {"dtype": "O"}}),
    "no coefficients": header(lambda head: {k: v for k, v in head.items() if k != "coef"}),
    "a pickle": weighed(lambda path: pickle.dumps({"coef": [1.0]})),
    "NaN as a coefficient": tensors(coef=lambda a: a["coef"] * np.nan),
    "an infinite intercept": tensors(tail=lambda a: a["tail"] + np.inf),
    "coefficients of one feature less": tensors(coef=lambda a: a["coef"][:-1].copy()),
    "ids that descend": tensors(ids=lambda a: a["ids"][::-1].copy()),
    "an id twice": tensors(ids=lambda a: np.array([0, 1, 1, 3])),
    "an id beyond the width": tensors(ids=lambda a: np.array([0, 1, 2, 4])),
    "a negative id": tensors(ids=lambda a: np.array([-1, 1, 2, 3])),
    "coefficients of another type": tensors(coef=lambda a: a["coef"].astype(np.float32)),
    "a matrix of coefficients": tensors(coef=lambda a: np.ones((4, 2))),
}  # fmt: skip


@pytest.mark.parametrize("harm", MODELS)
def test_a_hostile_model(saved, harm):
    MODELS[harm](saved)
    model_refused(saved)


def test_nothing_is_ever_unpickled(saved, stored, tmp_path):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sprung",)

    trap = pickle.dumps(Trap())
    pickle.loads(trap)  # noqa: S301 - it works
    (tmp_path / "sprung").unlink()
    for path in (saved / MODEL, saved / WEIGHTS):
        good = path.read_bytes()
        weighed(lambda _: trap)(saved) if path.name == WEIGHTS else path.write_bytes(trap)
        model_refused(saved)
        path.write_bytes(good)
    for file in ("blocks/part-00001.arrow", "features.arrow"):
        before = (stored / file).read_bytes()
        put_file(stored, file, trap)
        refuse(stored, stored / file)
        put_file(stored, file, before)
    (stored / MANIFEST).write_bytes(trap)
    refuse(stored)
    assert not (tmp_path / "sprung").exists()


def test_a_feature_spec_in_a_model_that_is_none(saved, tmp_path):
    model(features={"data": {"format": "svmlight", "block_bytes": 10**30}})(saved)
    raw = tmp_path / "x.svm"
    raw.write_text("1 1:1\n")
    with pytest.raises(BlockdotError, match="block_bytes"):
        load_model(saved).predict(raw)


# --- prediction sets and receipts ---


@pytest.mark.parametrize(
    "content",
    ["[]", "{}", '{"parts": 3}', '{"parts": [3]}', '{"parts": [{}]}', '{"parts": [{"file": "../../x"}]}',
     '{"parts": [{"file": "/etc/passwd", "checksum": ""}]}', "{", "[" * 100_000, '{"parts": [{"file": "pipe"}]}'],
)  # fmt: skip
def test_a_hostile_prediction_set(content, tmp_path):
    (tmp_path / "_manifest.json").write_text(content)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreError, match=str(tmp_path)):
        verified(tmp_path)


@pytest.mark.parametrize("content", ["[]", "3", "{", "[" * 100_000, '{"key": NaN}', '{"key": 1, "key": 2}'])
def test_a_hostile_receipt_is_none(content, tmp_path):
    directory = RunDirectory(tmp_path)
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/fit.json").write_text(content)
    assert directory.receipt("fit") == {}
