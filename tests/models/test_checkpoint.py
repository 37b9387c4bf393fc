"""Checkpoints of a fit in a directory: written whole, found again, refused where damaged or of something else."""

import json
import logging
import os
import signal
import warnings
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy

import blockdot as bd
from blockdot.blocks.numerics import fingerprint
from blockdot.errors import ExecutionError, SpecError, StoreError
from blockdot.models import journal as journal_module
from blockdot.models.fit import fit
from blockdot.models.folds import HashedFolds
from blockdot.models.journal import Journal
from blockdot.models.path import Grid, fit_path
from blockdot.models.recipe import Recipe

RECIPE = Recipe("logistic", alpha=1e-4, solver="lbfgs", tol=1e-8)


class InterruptionError(Exception):
    pass


def interrupt_at(iteration):
    def callback(state):
        if state.iteration == iteration:
            raise InterruptionError

    return callback


def rows(seed=5):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(150, 10)) * 10.0 ** rng.uniform(-1, 0.5, 10)
    return bd.Dataset.from_arrays(X, (X @ rng.normal(size=10) + rng.normal(size=150) > 0).astype(float), block_rows=40)


def bits(model):
    return model.coef.tobytes() + model.tail.tobytes() + model.info.model_dump_json().encode()


@pytest.fixture(scope="module")
def data():
    return rows()


@pytest.fixture(scope="module")
def undisturbed(data):
    return bits(fit(data, RECIPE, bd.ThreadPool(1))[0])


def interrupted(directory, data, recipe=RECIPE, at=7, every=0.0, **options):
    with pytest.raises(InterruptionError), Journal(directory, every=every, **options) as journal:
        fit(data, recipe, bd.ThreadPool(2), journal=journal, callbacks=[interrupt_at(at)])
    return directory


def resumed(directory, data, recipe=RECIPE, **options):
    seen = []
    with Journal(directory, **options) as journal:
        model, _ = fit(data, recipe, bd.ThreadPool(1), journal=journal, callbacks=[lambda s: seen.append(s.iteration)])
    return bits(model), seen[0]


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def manifests(directory):
    return sorted(directory.glob("checkpoint-*.json"))


def rewrite(path, change):
    """Change a manifest and give it the checksum that goes with the change."""
    from blockdot.models.checkpoint import _Manifest

    content = json.loads(path.read_bytes())
    change(content)
    content["digest"] = _Manifest.model_validate(content).seal()
    path.write_text(json.dumps(content))


def test_a_fit_goes_on_from_its_last_checkpoint_to_the_same_bits_and_removes_them_at_its_end(
    data, undisturbed, tmp_path, caplog
):
    directory = interrupted(tmp_path / "new" / "checkpoints", data)
    assert names(directory) == [
        ".lock", "checkpoint-00000006.json", "checkpoint-00000007.json", "state-00000006.safetensors",
        "state-00000007.safetensors",
    ]  # fmt: skip
    with caplog.at_level(logging.INFO, "blockdot"):
        assert resumed(directory, data) == (undisturbed, 8)
    assert f"goes on from the checkpoint in {directory}: iteration 7" in caplog.messages
    assert names(directory) == []


def test_checkpoints_are_written_in_time_or_at_the_interrupt(data, undisturbed, tmp_path):
    directory = interrupted(tmp_path / "a", data, every=3600.0)
    assert len(manifests(directory)) == 1  # only at the interrupt
    assert resumed(directory, data) == (undisturbed, 8)
    seen = set()
    with Journal(tmp_path / "b", every=3600.0) as journal:
        look = lambda _: seen.update(names(tmp_path / "b"))  # noqa: E731
        fit(data, RECIPE, bd.ThreadPool(1), journal=journal, callbacks=[look])
    assert seen == {".lock"}
    with pytest.raises(SpecError, match="every -1 seconds"):
        Journal(tmp_path / "c", every=-1)


def test_checkpoints_take_a_small_share_of_the_time(data, tmp_path, monkeypatch):
    now, writes = [0.0], []
    monkeypatch.setattr(journal_module.time, "monotonic", lambda: now[0])

    class Slow(journal_module.Checkpoints):
        def write(self, *given):
            writes.append(now[0])
            now[0] += 2.0
            return super().write(*given)

    monkeypatch.setattr(journal_module, "Checkpoints", Slow)

    def iterate(_):
        now[0] += 1.0

    with Journal(tmp_path, every=3.0) as journal:
        fit(data, replace(RECIPE, tol=0.0, max_iter=40), bd.ThreadPool(1), journal=journal, callbacks=[iterate])
    assert writes[:1] == [3.0]
    assert len(writes) == 1  # the next one is due after 50 times the 2 s


def test_a_fit_in_stages_and_a_path_keep_what_is_done_once(tmp_path, data):
    recipe = Recipe("logistic", l1_ratio=0.5)
    folds, grid, pool = HashedFolds(3), Grid(n_alphas=6, eps=0.05), bd.ThreadPool(1)

    def path(journal, *callbacks):
        model, found = fit_path(data, recipe, pool, grid, folds, journal=journal, callbacks=callbacks)
        return bits(model) + found.losses.tobytes() + found.coef.tobytes()

    calls = []
    whole = path(Journal(), calls.append)
    count = []

    def stop(_):
        count.append(1)
        if len(count) == len(calls) - 2:
            raise InterruptionError

    with pytest.raises(InterruptionError), Journal(tmp_path, every=0.0) as journal:
        path(journal, stop)
    parts = json.loads(manifests(tmp_path)[-1].read_text())["parts"]
    assert [part["kind"] for part in parts][:4] == ["_Step"] * 4  # and no minimisation of the models of all folds
    assert len(list(tmp_path.glob("part-*"))) == len(parts) <= 6  # each in its file, written once
    assert len(list(tmp_path.glob("start-*"))) <= 2
    later = []
    with Journal(tmp_path) as journal:
        assert path(journal, later.append) == whole
    assert len(later) <= 3
    assert names(tmp_path) == []


@pytest.mark.parametrize("damage", ["truncated", "altered", "gone", "no JSON", "nested", "changed", "other arrays"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(data, undisturbed, tmp_path, caplog, damage):
    directory = interrupted(tmp_path, data)
    manifest, arrays = manifests(directory)[-1], sorted(directory.glob("state-*"))[-1]
    if damage == "truncated":
        arrays.write_bytes(arrays.read_bytes()[:-8])
    elif damage == "altered":
        content = bytearray(arrays.read_bytes())
        content[-3] ^= 1
        arrays.write_bytes(content)
    elif damage == "gone":
        arrays.unlink()
    elif damage == "no JSON":
        manifest.write_bytes(manifest.read_bytes()[:100])
    elif damage == "nested":
        manifest.write_text("[" * 200_000)
    elif damage == "changed":
        manifest.write_text(manifest.read_text().replace('"iteration": 7', '"iteration": 8'))
    else:
        arrays.write_bytes(b"\xff" * 200)
        entry = {"file": arrays.name, "size": 200}
        entry["checksum"] = journal_module.checksum(arrays.read_bytes())
        rewrite(manifest, lambda content: content["state"].update(arrays=entry))
    with caplog.at_level(logging.WARNING, "blockdot"):
        assert resumed(directory, data) == (undisturbed, 7)
    [text] = caplog.messages
    assert str(manifest if damage in ("no JSON", "nested", "changed") else arrays) in text
    assert "the checkpoint before it is used" in text


def test_when_all_are_damaged_the_fit_does_not_begin_from_somewhere_else(data, tmp_path):
    directory = interrupted(tmp_path, data)
    for manifest in manifests(directory):
        manifest.write_text("{}")
    with pytest.raises(StoreError, match=r"no checkpoint can be used: .*0007.json does not .*0006.json does not"):
        resumed(directory, data)
    assert len(manifests(directory)) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(format="other"), "format"),
        (lambda c: c.update(extra=1), "extra"),
        (lambda c: c["state"]["arrays"].update(file="../state-1.safetensors"), "file"),
        (lambda c: c["state"]["arrays"].update(file="state-1.pickle"), "file"),
        (lambda c: c["state"]["arrays"].update(size=-1), "size"),
    ],
)
def test_a_hostile_manifest_is_refused(data, tmp_path, change, words):
    directory = interrupted(tmp_path, data)
    manifests(directory)[0].unlink()
    path = manifests(directory)[0]
    content = json.loads(path.read_bytes())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(StoreError, match=f"does not describe a checkpoint: .*{words}"):
        resumed(directory, data)


def test_a_state_of_other_types_or_sizes_is_refused(data, tmp_path):
    directory = interrupted(tmp_path, data)
    rewrite(manifests(directory)[-1], lambda c: c["state"]["tree"].update(status="os.system"))
    with pytest.raises(StoreError, match=r"LBFGSState.status: needed one of converged, .* found os.system"):
        resumed(directory, data)
    arrays = sorted(directory.glob("state-*"))[-1]
    arrays.write_bytes(safetensors.numpy.save({"0": np.zeros(3), "1": np.zeros(11)}))
    entry = {
        "file": arrays.name, "size": arrays.stat().st_size,
        "checksum": journal_module.checksum(arrays.read_bytes()),
    }  # fmt: skip

    def shorten(content):
        content["state"]["tree"].update(status=None, pairs=[])
        content["state"]["arrays"] = entry

    rewrite(manifests(directory)[-1], shorten)
    with pytest.raises(SpecError, match="resume_from has 3 parameters, w0 has 11"):
        resumed(directory, data)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data, recipe: (rows(seed=6), recipe), r"its data is \"\w+\", and here it is \"\w+\""),
        (lambda data, recipe: (data, replace(recipe, alpha=1e-3)), "its recipe.alpha is 0.0001, and here it is 0.001"),
        (lambda data, recipe: (data, replace(recipe, solver="newton-cg")), r"recipe.solver is \"lbfgs\""),
        (lambda data, recipe: (data, replace(recipe, penalty_weights=np.ones(10))), "recipe.penalty_weights is null"),
    ],
    ids=["data", "alpha", "solver", "weights"],
)
def test_the_checkpoint_of_another_fit_is_refused_with_what_differs_and_stays(data, tmp_path, change, words):
    directory = interrupted(tmp_path, data)
    before = names(directory)
    with pytest.raises(SpecError, match=f"is of another fit: .*{words}.*; remove the directory"):
        resumed(directory, *change(data, RECIPE))
    assert names(directory) == before


def test_another_version_of_the_library_is_refused(data, tmp_path):
    directory = interrupted(tmp_path, data)
    rewrite(manifests(directory)[-1], lambda content: content.update(library="0.0.9"))
    with pytest.raises(SpecError, match=f"was written by blockdot 0.0.9, this is {bd.__version__}"):
        resumed(directory, data)


def test_other_numerics_are_warned_of_or_refused(data, undisturbed, tmp_path, monkeypatch, caplog):
    theirs = {**fingerprint(), "computed numbers": "0123"}
    with monkeypatch.context() as patched:
        patched.setattr(journal_module, "fingerprint", lambda: theirs)
        directory = interrupted(tmp_path, data)
    with pytest.raises(ExecutionError, match=r"computed numbers: \w+ here, 0123 there.*reproducible = \"strict\""):
        resumed(directory, data, strict=True)
    with caplog.at_level(logging.WARNING, "blockdot"):
        assert resumed(directory, data) == (undisturbed, 8)
    assert "was written where other bits are computed (computed numbers:" in caplog.text


def test_a_fit_that_does_not_resume_replaces_what_is_there_and_says_so(data, undisturbed, tmp_path, caplog):
    directory = interrupted(tmp_path, data)
    interrupted(directory, data, replace(RECIPE, alpha=1.0), at=2, resume=False)
    assert f"the checkpoints in {directory} are left out, and replaced by those of this run" in caplog.messages
    assert len(manifests(directory)) == 2
    with pytest.raises(SpecError, match=r"recipe\.alpha is 1\.0"):
        resumed(directory, data)
    assert resumed(directory, data, resume=False) == (undisturbed, 1)


def test_a_directory_that_cannot_be_written_to_fails_at_the_start(data, tmp_path):
    (tmp_path / "file").write_text("")
    for directory in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreError, match=f"cannot write {directory}"), Journal(directory):
            raise AssertionError


@pytest.mark.parametrize("moment", ["start", "middle"])
def test_a_full_disk_is_an_error_at_the_start_and_a_warning_later(
    data, undisturbed, tmp_path, monkeypatch, caplog, moment
):
    real = os.fsync
    full = []

    def fsync(descriptor):
        if full:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    if moment == "start":
        full.append(1)
        with pytest.raises(StoreError, match=r"cannot write .*probe \(4,096 bytes\): No space left .* free some room"):
            resumed(tmp_path, data)
        return
    with Journal(tmp_path, every=0.0) as journal:
        fill = lambda state: full.append(1) if state.iteration == 4 else None  # noqa: E731
        assert bits(fit(data, RECIPE, bd.ThreadPool(1), journal=journal, callbacks=[fill])[0]) == undisturbed
        full.clear()
        assert [path.name for path in manifests(tmp_path)] == ["checkpoint-00000003.json", "checkpoint-00000004.json"]
    [text] = caplog.messages  # one: the next try is a minute later
    assert f"cannot write {tmp_path}/state-00000005.safetensors (" in text
    assert "bytes): No space left on device; free some room" in text
    assert "goes on without this checkpoint" in text


def test_two_fits_do_not_share_a_directory(data, tmp_path):
    with (
        Journal(tmp_path),
        pytest.raises(ExecutionError, match=f"{tmp_path} is in use by another fit"),
        Journal(tmp_path),
    ):
        raise AssertionError


def test_signals_wait_until_a_checkpoint_is_whole(data, undisturbed, tmp_path, monkeypatch):
    class Signalled(journal_module.Checkpoints):
        def write(self, *given):
            os.kill(os.getpid(), signal.SIGTERM)
            return super().write(*given)

    def interrupt(number, frame):
        raise InterruptionError

    monkeypatch.setattr(journal_module, "Checkpoints", Signalled)
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        with pytest.raises(InterruptionError), Journal(tmp_path, every=0.0) as journal:
            fit(data, RECIPE, bd.ThreadPool(1), journal=journal)
        assert signal.getsignal(signal.SIGTERM) is interrupt
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(manifests(tmp_path)) == 1
    monkeypatch.undo()
    assert resumed(tmp_path, data) == (undisturbed, 2)


def test_a_lost_cluster_is_no_lost_fit(data, undisturbed, tmp_path):
    """The whole fit begins again on another pool, with the same journal, and goes on where it was."""

    class Lost(bd.ThreadPool):
        calls = 0

        def map(self, *given):
            self.calls += 1
            if self.calls == 12:
                raise ExecutionError("the scheduler is gone")
            return super().map(*given)

    seen = []
    with Journal(tmp_path) as journal:
        with pytest.raises(ExecutionError):
            fit(data, RECIPE, Lost(1), journal=journal, callbacks=[lambda s: seen.append(s.iteration)])
        model, _ = fit(data, RECIPE, bd.ThreadPool(2), journal=journal, callbacks=[lambda s: seen.append(s.iteration)])
    assert bits(model) == undisturbed
    assert seen == list(range(1, len(seen) + 1))


ESTIMATORS = [
    bd.LogisticRegression(alpha=1e-4, solver="lbfgs", max_iter=1000),
    bd.LogisticRegression(alpha=1e-3, l1_ratio=1.0, max_iter=1000),
    bd.LogisticRegressionCV(n_alphas=4, eps=0.1, cv=3, max_iter=1000),
]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=["one", "stages", "path"])
def test_estimators_keep_checkpoints_in_a_directory(estimator, tmp_path):
    rng = np.random.default_rng(2)
    X = rng.normal(size=(120, 8))
    y = np.where(X @ rng.normal(size=8) + rng.normal(size=120) > 0, "yes", "no")
    calls = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = estimator.set_params(callbacks=[calls.append], checkpoint=None).fit(X, y)
        expected = (whole.coef_.tobytes(), whole.intercept_.tobytes(), whole.n_iter_)
        count = []

        def stop(_):
            count.append(1)
            if len(count) == len(calls) - 1:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            estimator.set_params(callbacks=[stop], checkpoint=str(tmp_path)).fit(X, y)
        assert len(manifests(tmp_path)) == 1
        with pytest.raises(SpecError, match="is of another fit: its data"):
            estimator.set_params(callbacks=()).fit(X * 2.0, y)
        later = []
        again = estimator.set_params(callbacks=[later.append]).fit(X, y)
    assert len(later) == 1
    assert (again.coef_.tobytes(), again.intercept_.tobytes(), again.n_iter_) == expected
    assert names(tmp_path) == []
