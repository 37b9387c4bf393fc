"""Steps of stochastic descent: against a recursion written out with dense matrices, and the same bits anywhere."""

import numpy as np
import pytest
import scipy.sparse as sp

import blockdot as bd
from blockdot.blocks.batches import Dealing
from blockdot.models import stochastic
from blockdot.models.stochastic import Course, Learner, Score
from blockdot.objective.network import Network
from blockdot.solvers.updates import FTRL, At, Average, adagrad, adam, chain, sgd

N, D = 230, 30


def data(outputs=None, block_rows=80, seed=0, weighted=True):
    rng = np.random.default_rng(seed)
    X = sp.random_array((N, D), density=0.15, rng=rng, format="lil")
    X[:, 0] = rng.normal(size=(N, 1)) + 3.0
    X = X.tocsr()
    y = rng.integers(0, outputs or 2, N).astype(float)
    s, o = (rng.uniform(0.5, 1.5, N), rng.normal(size=N)) if weighted else (None, None)
    return X.toarray(), bd.Dataset.from_arrays(X, y, s, o, block_rows=block_rows)


RULES = {
    "sgd": chain(sgd(0.1, momentum=0.5), Average(3)),
    "adagrad": adagrad(0.2, alpha=0.01),
    "adam": adam(0.05),
    "ftrl": FTRL(0.3, 0.1, 0.05, 0.1),
}
LOSSES = {"logistic": (bd.Logistic(), None), "softmax": (bd.Softmax(3), 3)}


def course(ds, rule, loss, outputs, mode="sequential", size=16, pool=None, epoch_seed=4):
    predictor = bd.Linear(True, outputs)
    size_w = predictor.layout.size(len(ds.table))
    p, q = np.ones(size_w), np.full(size_w, 0.5)
    p[-predictor.layout.tail :] = 0.0
    blocks = ds.on(pool or bd.ThreadPool(1))
    return blocks, lambda b: Course(
        Learner(loss, predictor, rule, size * ds.weight / N, is_penalized=True),
        Dealing(size, epoch_seed), b, ds.block_rows, mode, (p, q),
    )  # fmt: skip


def go(ds, rule, loss, outputs, epochs=2, **more):
    """The point after some epochs, and their progressive losses."""
    blocks, make = course(ds, rule, loss, outputs, **more)
    with blocks as b:
        lessons, scores = make(b), []
        point = lessons.start(np.zeros(lessons.learner.layout.size(len(ds.table))))
        for epoch in range(epochs):
            cursor, score = None, Score()
            while cursor != 0:
                leg = lessons.leg(point, epoch, cursor or 0)
                point, cursor, score = leg.point, leg.cursor, score.plus(leg.score)
            scores.append(score)
    return point, scores


def batches_of(ds, mode, size, epoch, seed=4):
    """The rows of each step, by their number in the data."""
    dealing = Dealing(size, seed)
    starts = np.concatenate([[0], np.cumsum(ds.block_rows)])
    orders = [starts[i] + dealing.rows(n, epoch, i, 0, n) for i, n in enumerate(ds.block_rows)]
    if mode == "synchronous":
        steps = -(-N // size)
        for step in range(steps):
            yield np.concatenate([o[step * len(o) // steps : (step + 1) * len(o) // steps] for o in orders])
        return
    for i in dealing.blocks(ds.n_blocks, epoch):
        for start in range(0, len(orders[i]), size):
            yield orders[i][start : start + size]


def dense(X, ds, rule, loss, outputs, mode, epochs=2, size=16):
    """The same with dense rows: only what the rows of a step touch is updated."""
    block = [ds.source.block(i) for i in range(ds.n_blocks)]
    y, s, o = (np.concatenate([getattr(b, name) for b in block]) for name in ("y", "sample_weight", "offset"))
    X, k = X[:, ds.table.ids], outputs or 1
    W, b = np.zeros((X.shape[1], k)), np.zeros(k)
    p, q = np.concatenate([np.ones(W.size), np.zeros(k)]), np.full(W.size + k, 0.5)
    slots = [slot.copy() for slot in rule.init(At(np.concatenate([W.ravel(), b]), 1, p))]
    t, losses = 0, []
    for epoch in range(epochs):
        total = 0.0
        for rows in batches_of(ds, mode, size, epoch):
            t += 1
            z = X[rows] @ W + b + o[rows][:, None]
            value, u = loss.value_and_grad(y[rows], z if outputs else z[:, 0], s[rows])
            total += value
            u = u.reshape(len(rows), k) / (size * s.mean())
            g = np.concatenate([(X[rows].T @ u).ravel(), u.sum(axis=0)])
            touched = np.concatenate([np.repeat(np.any(X[rows] != 0, axis=0), k), np.ones(k, bool)])
            w = np.concatenate([W.ravel(), b])
            step, after = rule.update(
                g[touched], tuple(slot[touched] for slot in slots), At(w[touched], t, p[touched], q[touched])
            )
            w[touched] += step
            for slot, now in zip(slots, after, strict=True):
                slot[touched] = now
            W, b = w[: W.size].reshape(W.shape), w[W.size :]
        losses.append(total)
    return np.concatenate([W.ravel(), b]), slots, losses, t


@pytest.mark.parametrize("mode", ["sequential", "synchronous"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("rule", RULES)
def test_steps_are_those_of_the_recursion_written_out(rule, loss, mode):
    loss, outputs = LOSSES[loss]
    X, ds = data(outputs)
    assert ds.source.block(0).X.n_dense  # rows have both kinds of columns
    point, scores = go(ds, RULES[rule], loss, outputs, mode=mode)
    w, slots, losses, t = dense(X, ds, RULES[rule], loss, outputs, mode)
    assert point.t == t
    np.testing.assert_allclose(point.w, w, rtol=1e-9, atol=1e-12)
    for slot, expected in zip(point.slots, slots, strict=True):
        np.testing.assert_allclose(slot, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose([score.value for score in scores], losses, rtol=1e-10)
    np.testing.assert_allclose([score.weight for score in scores], ds.weight)


def test_full_batches_are_gradient_descent():
    _, ds = data(block_rows=N)
    with ds.on(bd.ThreadPool(1)) as blocks:
        objective = bd.Objective(bd.Logistic(), bd.Linear(), bd.L2(0.0), blocks)
        result = bd.minimize(objective, bd.GradientDescent(0.1), objective.zeros(), tol=0.0, max_iter=20)
    point, scores = go(ds, sgd(0.1), bd.Logistic(), None, epochs=20, size=N)
    np.testing.assert_allclose(point.w, result.w, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose([score.mean for score in scores], [p.value for p in result.trace[:20]], rtol=1e-12)


@pytest.mark.parametrize("mode", stochastic.MODES)
def test_the_same_bits_for_any_number_of_threads_and_any_legs(mode, monkeypatch):
    _, ds = data(3)
    loss, outputs = LOSSES["softmax"]
    runs = [go(ds, RULES["adam"], loss, outputs, mode=mode, pool=bd.ThreadPool(n)) for n in (1, 2, 3)]
    monkeypatch.setattr(stochastic, "_ROWS_A_LEG", 40)
    runs.append(go(ds, RULES["adam"], loss, outputs, mode=mode))
    assert len({b"".join(v.tobytes() for v in (p.w, *p.slots)) for p, _ in runs}) == 1
    assert len({p.t for p, _ in runs}) == 1


def test_one_block_that_learns_by_itself_is_learning_in_sequence():
    _, ds = data(block_rows=N)
    alone, together = (go(ds, RULES["ftrl"], bd.Logistic(), None, mode=m)[0] for m in ("sequential", "averaged"))
    np.testing.assert_allclose(alone.w, together.w, rtol=1e-12, atol=1e-15)
    assert alone.t == together.t


def test_what_blocks_learn_is_averaged_over_those_that_have_the_feature():
    """Feature 0 is in the first block alone, feature 1 in both; the tail is in both."""
    X = np.array([[1.0, 2.0], [1.0, 1.0], [0.0, 1.0], [0.0, 3.0]])
    y, s = np.array([1.0, 0.0, 1.0, 1.0]), np.array([1.0, 2.0, 1.0, 4.0])
    rule, parts = sgd(0.5), []
    for rows in (slice(0, 2), slice(2, 4)):
        part = bd.Dataset.from_arrays(X[rows], y[rows], s[rows])
        lessons = Course(Learner(bd.Logistic(), bd.Linear(), rule, 2.0), Dealing(2, shuffle=False), None, (2,))
        with part.on(bd.ThreadPool(1)) as blocks:
            w = (
                Course(lessons.learner, lessons.dealing, blocks, (2,))
                .leg(lessons.start(np.zeros(len(part.table) + 1)), 0, 0)
                .point.w
            )
        full = np.zeros(3)
        full[[*part.table.ids, 2]] = w
        parts.append(full)
    ds = bd.Dataset.from_arrays(X, y, s, block_rows=2)
    with ds.on(bd.ThreadPool(1)) as blocks:
        lessons = Course(
            Learner(bd.Logistic(), bd.Linear(), rule, 2.0), Dealing(2, shuffle=False), blocks, (2, 2), "averaged"
        )
        w = lessons.leg(lessons.start(np.zeros(3)), 0, 0).point.w
    mean = (3.0 * parts[0] + 5.0 * parts[1]) / 8.0
    expected = {0: parts[0][0], 1: mean[1]}
    np.testing.assert_allclose(w, [*(expected[i] for i in ds.table.ids), mean[2]], rtol=1e-12)


@pytest.mark.parametrize("mode", stochastic.MODES)
def test_a_network_learns_by_the_same_steps(mode):
    rng = np.random.default_rng(0)
    X = sp.random_array((600, 20), density=0.3, rng=rng, format="csr")
    y = ((X @ np.ones(20) > 1.5) ^ (X[:, [0]].toarray().ravel() > 0.0)).astype(float)  # no linear model can say it
    ds = bd.Dataset.from_arrays(X, y, block_rows=150)
    network = Network((8,), "tanh")
    with ds.on(bd.ThreadPool(2)) as blocks:
        learner = Learner(bd.Logistic(), network, adam(0.02), 20.0)
        lessons = Course(learner, Dealing(20), blocks, ds.block_rows, mode)
        point = lessons.start(0.5 * rng.normal(size=network.layout.size(20)))
        losses = []
        for epoch in range(15):
            leg = lessons.leg(point, epoch, 0)
            point = leg.point
            losses.append(leg.score.mean)
    assert losses[-1] < 0.75 * losses[0]


@pytest.mark.timeout(240)
def test_the_same_bits_on_worker_processes(tmp_path, client):
    _, ds = data(3)
    stored, (loss, outputs) = ds.save(tmp_path / "rows.blocks"), LOSSES["softmax"]
    here = {mode: go(ds, RULES["ftrl"], loss, outputs, mode=mode, epochs=1) for mode in stochastic.MODES}
    with bd.DaskPool(client) as pool:
        for mode, (expected, scores) in here.items():
            point, found = go(stored, RULES["ftrl"], loss, outputs, mode=mode, epochs=1, pool=pool)
            assert point.w.tobytes() == expected.w.tobytes(), mode
            assert found == scores
