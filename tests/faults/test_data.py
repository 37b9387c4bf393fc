"""Faults of data and disks: what is left by a crash, a full or closed disk; values, labels and shapes at the edge.

Full and read-only disks are real ones: file systems of their own, mounted for one process in namespaces of its own, as
whoever runs the tests (to root, permissions would mean nothing). Where a machine allows no such namespaces, a limit on
the size of files stands in for the full disk, and the read-only one is skipped.
"""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from functools import cache

import numpy as np
import pytest
import scipy.sparse as sp
from command_line import bytes_of

import blockdot as bd
from blockdot.blocks import opened
from blockdot.blocks.dataset import Dataset
from blockdot.blocks.manifest import MANIFEST
from blockdot.blocks.store import verify_store
from blockdot.errors import DataError, StoreError

pytestmark = pytest.mark.timeout(240)


@cache
def namespaces():
    """Why a process cannot mount file systems of its own here; empty if it can."""
    if shutil.which("unshare") is None:
        return "there is no program unshare"
    tried = subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, text=True, check=False
    )
    return tried.stderr.strip()


def mounted(setup, *arguments):
    """Run the command line where ``setup``, a line of shell, has mounted something."""
    if namespaces():
        pytest.skip(f"no file system of one's own can be mounted here: {namespaces()}")
    command = ["unshare", "-rm", "sh", "-ec", f'{setup}; exec "$@"', "sh", sys.executable, "-m", "blockdot"]
    return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False)


# --- disks ---


def test_a_full_disk_is_named_with_the_bytes_and_the_run_goes_on_later(blockdot, job, tmp_path):
    out = tmp_path / "disk" / "run"
    out.parent.mkdir()
    full = mounted(f"mount -t tmpfs -o size=48k tmpfs {out.parent}", "run", *job(out))
    assert full.returncode == 3, full.stderr
    assert f"cannot write {out}" in full.stderr
    assert " bytes)" in full.stderr
    assert "No space left on device; free some room, or choose another disk" in full.stderr
    assert "Traceback" not in full.stderr
    again = blockdot("run", *job(out))
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize("limit", [2_000, 9_000, 40_000])
def test_a_disk_that_takes_no_more_at_any_stage(limit, blockdot, job, tmp_path):
    """By a limit on the size of each file: what was whole is kept, what was not is not there, and a rerun completes."""
    out, whole = tmp_path / "run", tmp_path / "whole"
    assert blockdot("run", *job(whole)).returncode == 0

    def shut():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    full = blockdot("run", *job(out, **{"data.block_bytes": 10_000}), preexec_fn=shut)
    if full.returncode != 0:
        assert full.returncode == 3, full.stderr
        assert "cannot write" in full.stderr
        assert "bytes)" in full.stderr
    for store in out.glob("*.blocks"):
        assert verify_store(store) == []
    again = blockdot("run", *job(out))
    assert again.returncode == 0, again.stderr
    assert bytes_of(out) == bytes_of(whole)


def test_a_disk_that_can_only_be_read(job, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    closed = f"mount --bind {disk} {disk}; mount -o remount,bind,ro {disk}"
    done = mounted(closed, "run", *job(disk / "run"))
    assert done.returncode == 3, done.stderr
    assert f"cannot write {disk / 'run'}" in done.stderr
    assert "choose a directory on a disk that can be written to" in done.stderr
    assert "Traceback" not in done.stderr
    (disk / "run").mkdir()
    done = mounted(closed, "run", *job(disk / "run"))
    assert done.returncode == 3, done.stderr
    assert "Read-only file system" in done.stderr


# --- crashes ---


def test_an_ingest_that_is_killed_at_any_moment_is_done_again_to_the_same_bytes(blockdot, job, svmlight_file, tmp_path):
    svmlight_file.write_text(svmlight_file.read_text() * 40)
    whole, out = tmp_path / "whole", tmp_path / "run"
    assert blockdot("run", *job(whole)).returncode == 0
    caught = 0
    for moment in (0.0, 0.05, 0.1, 0.2):
        process = subprocess.Popen(
            [sys.executable, "-m", "blockdot", "ingest", *map(str, job(out))], stderr=subprocess.PIPE, text=True
        )
        for line in process.stderr:
            if line.startswith("ingest …"):
                break
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
        caught += process.returncode == -signal.SIGKILL
        for store in (out / "train.blocks", out / "test.blocks"):
            assert not store.exists() or verify_store(store) == [], "what is there is whole"
        assert not (out / "train.blocks").exists() or (out / "test.blocks").exists() or moment > 0
    assert caught > 0
    again = blockdot("run", *job(out))
    assert again.returncode == 0, again.stderr
    assert bytes_of(out) == bytes_of(whole)
    assert [path.name for path in out.iterdir() if path.name.endswith(".partial")] == []


# --- stores ---


@pytest.fixture
def stored(tmp_path):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(90, 8)) * (rng.random((90, 8)) < 0.4)
    return Dataset.from_arrays(X, rng.integers(0, 2, 90), block_rows=30).save(tmp_path / "rows.blocks").path


def test_a_block_of_another_store_is_refused(stored, tmp_path):
    rng = np.random.default_rng(4)
    X = rng.normal(size=(90, 8)) * (rng.random((90, 8)) < 0.4)
    other = Dataset.from_arrays(X, rng.integers(0, 2, 90), block_rows=30).save(tmp_path / "other.blocks").path
    block = stored / "blocks/part-00001.arrow"
    size = block.stat().st_size
    shutil.copy(other / "blocks/part-00001.arrow", block)
    os.truncate(block, size)  # so that its size gives nothing away
    with pytest.raises(StoreError, match=r"part-00001\.arrow was altered: its checksum is \w+, expected \w+"):
        Dataset.open(stored).source.block(1)
    assert any("part-00001.arrow" in problem for problem in verify_store(stored))


def test_a_manifest_that_was_cut_off_at_any_byte(stored):
    good = (stored / MANIFEST).read_bytes()
    for length in [*range(0, len(good) - 1, 41), len(good) - 3]:
        (stored / MANIFEST).write_bytes(good[:length])
        opened._open.cache_clear()
        with pytest.raises(StoreError, match=MANIFEST):
            Dataset.open(stored)
    (stored / MANIFEST).write_bytes(good)
    assert verify_store(stored) == []


# --- values, labels, weights ---


def rows(n=60, d=6, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * (rng.random((n, d)) < 0.6)
    return X, (X @ rng.normal(size=d) + rng.normal(size=n) > 0).astype(float)


@pytest.mark.parametrize(
    ("where", "value", "words"),
    [
        ("X", np.nan, r"X\[7, 2\] is nan; needed finite numbers"),
        ("X", -np.inf, r"X\[7, 2\] is -inf; needed finite numbers"),
        ("y", np.nan, r"y\[7\] is nan; needed finite numbers"),
        ("sample_weight", np.inf, r"sample_weight\[7\] is inf; needed finite numbers"),
        ("sample_weight", -1.0, r"sample_weight\[7\] is -1; needed at least 0"),
        ("offset", np.nan, r"offset\[7\] is nan; needed finite numbers"),
    ],
)
def test_a_bad_number_in_arrays_is_named_by_its_place(where, value, words):
    X, y = rows()
    parts = {"X": X, "y": y, "sample_weight": np.ones(60), "offset": np.zeros(60)}
    parts[where][(7, 2) if where == "X" else 7] = value
    for matrix in (parts["X"], sp.csr_array(parts["X"])):
        with pytest.raises(DataError, match=words):
            Dataset.from_arrays(**parts | {"X": matrix}, block_rows=16)


def test_weights_that_are_all_zero():
    X, y = rows()
    with pytest.raises(DataError, match="every sample_weight is zero"):
        Dataset.from_arrays(X, y, np.zeros(60))


def test_a_label_outside_its_set_is_named_by_block_and_row():
    X, y = rows()
    y[40] = 3.0
    data = Dataset.from_arrays(X, y, block_rows=16)
    with pytest.raises(DataError, match=r"block 2, row 8: found the label 3, needed one of 0, 1"):
        data.encoded((0.0, 1.0)).source.block(2)


def test_one_class_only():
    X, y = rows()
    with pytest.raises(ValueError, match=r"one class|1 class"):
        bd.LogisticRegression().fit(X, np.ones_like(y))
    with pytest.raises(DataError, match="one class only"):
        bd.LogisticRegression().fit(Dataset.from_arrays(X, np.ones_like(y)))


@pytest.mark.parametrize("classes", [2, 3])
def test_a_class_that_is_absent_from_some_blocks(classes):
    """Blocks with one class, or without rows of the third, add up to the same model."""
    X, y = rows(90)
    y = np.sort(y + (classes == 3) * (np.arange(90) > 75))  # so the first block holds class 0 alone
    together = bd.LogisticRegression(alpha=1e-2, tol=1e-10).fit(Dataset.from_arrays(X, y, block_rows=90))
    apart = bd.LogisticRegression(alpha=1e-2, tol=1e-10).fit(Dataset.from_arrays(X, y, block_rows=10))
    assert np.allclose(apart.coef_, together.coef_, rtol=0, atol=1e-7)
    assert np.array_equal(apart.classes_, together.classes_)


# --- shapes at the edge: least squares against the normal equations ---


def ridge(X, y, alpha):
    """w and b of least squares with the penalty α/2 ‖w‖², by the normal equations."""
    n, d = X.shape
    centre, mean = (X.mean(axis=0), y.mean()) if n else (np.zeros(d), 0.0)
    A = (X - centre).T @ (X - centre) / n + alpha * np.eye(d)
    w = np.linalg.solve(A, (X - centre).T @ (y - mean) / n) if d else np.zeros(0)
    return w, mean - centre @ w


def shaped(kind):
    rng = np.random.default_rng(5)
    X = rng.normal(size=(40, 7)) * (rng.random((40, 7)) < 0.5)
    if kind == "one row":
        X = X[:1]
    elif kind == "no features":
        X = X[:, :0]
    elif kind == "one feature":
        X = X[:, :1]
    elif kind == "many more features than rows":
        X = rng.normal(size=(5, 300)) * (rng.random((5, 300)) < 0.3)
    elif kind == "empty rows":
        X[::2] = 0
    elif kind == "empty blocks":
        X[10:30] = 0
    elif kind == "nothing but zeros":
        X[:] = 0
    elif kind == "columns of zeros":
        X[:, ::2] = 0
    return X, rng.normal(size=len(X))


KINDS = ["one row", "no features", "one feature", "many more features than rows", "empty rows", "empty blocks",
         "nothing but zeros", "columns of zeros"]  # fmt: skip


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("solver", ["newton-cg", "newton-cholesky", "lbfgs", "proximal-newton"])
@pytest.mark.parametrize("kind", KINDS)
def test_shapes_at_the_edge(kind, solver, stored, tmp_path):
    X, y = shaped(kind)
    data = Dataset.from_arrays(X, y, block_rows=10)
    if stored:
        data = data.save(tmp_path / "rows.blocks")
    est = bd.LinearRegression(alpha=0.1, solver=solver, tol=1e-12, max_iter=500).fit(data)
    w, b = ridge(X, y, 0.1)
    assert est.coef_.shape == (X.shape[1],)
    assert np.allclose(est.coef_, w, rtol=0, atol=1e-6)
    assert est.intercept_ == pytest.approx(b, abs=1e-6)
    assert np.allclose(est.predict(data), X @ w + b, rtol=0, atol=1e-6)


def test_three_rows_of_a_million_features():
    indices = np.array([0, 999_999, 5, 999_999, 17])
    X = sp.csr_array((np.ones(5), indices, np.array([0, 2, 4, 5])), shape=(3, 10**6))
    y = np.array([1.0, 2.0, 4.0])
    est = bd.LinearRegression(alpha=0.1, tol=1e-12).fit(X, y)
    small = np.unique(indices)
    w, b = ridge(X[:, small].toarray(), y, 0.1)
    assert np.allclose(est.coef_[small], w, rtol=0, atol=1e-8)
    assert np.count_nonzero(est.coef_) <= len(small)
    assert est.intercept_ == pytest.approx(b, abs=1e-8)


def test_no_rows_at_all(tmp_path):
    data = Dataset.from_arrays(np.zeros((0, 3)), np.zeros(0))
    with pytest.raises(DataError, match="row"):
        bd.LinearRegression().fit(data)
    empty = tmp_path / "rows.svm"
    empty.write_text("# nothing\n\n")
    with pytest.raises(DataError, match="no rows are left"):
        bd.ingest(empty, tmp_path / "rows.blocks")
