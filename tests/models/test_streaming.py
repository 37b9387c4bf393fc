"""Learning from raw files while they are read: as from a store of them, and on from there."""

import gzip

import numpy as np
import pytest

import blockdot as bd

BLOCK = {"format": "svmlight", "block_bytes": 4000}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Rows of a linear model in svmlight text; the first column is in all rows, with values."""
    rng, lines = np.random.default_rng(0), []
    w = rng.normal(size=60)
    for _ in range(1500):
        columns = np.concatenate([[0], np.sort(rng.choice(np.arange(1, 60), size=6, replace=False))])
        values = np.concatenate([rng.normal(size=1), np.ones(6)]).round(3)
        label = int(values @ w[columns] + rng.logistic() > 0)
        lines.append(f"{label} " + " ".join(f"{c + 1}:{v:g}" for c, v in zip(columns, values, strict=True)))
    path = tmp_path_factory.mktemp("text") / "rows.svm"
    path.write_text("\n".join(lines) + "\n")
    return path


def learner(**settings):
    return bd.SGDClassifier(batch_size=20, shuffle=False, **settings)


@pytest.mark.parametrize("settings", [{}, {"optimizer": "adagrad", "average": True}, {"optimizer": "adam"}], ids=str)
def test_a_stream_is_one_pass_over_a_store(text, tmp_path, settings):
    store = bd.ingest(str(text), out=tmp_path / "s.blocks", data=BLOCK)
    assert store.n_blocks > 5
    kept = learner(max_iter=1, **settings).fit(store)
    read = learner(**settings).partial_fit(bd.stream(str(text), data=BLOCK), classes=[0, 1])
    np.testing.assert_allclose(read.coef_, kept.coef_, rtol=1e-5, atol=1e-8)  # values are float32 in a store, too
    assert read.loss_curve_[0] == pytest.approx(kept.loss_curve_[0], rel=1e-6)
    assert (read.t_, read.model_.info.fit.rows, read.n_features_in_) == (kept.t_, 1500, store.n_features)
    assert read.score(store) == pytest.approx(kept.score(store))


def test_the_same_bits_for_any_number_of_threads_and_a_compressed_file(text, tmp_path):
    packed = tmp_path / "rows.svm.gz"
    packed.write_bytes(gzip.compress(text.read_bytes()))
    found = [
        bd.SGDClassifier(random_state=3).partial_fit(bd.stream(str(path), data=BLOCK, n_threads=n), classes=[0, 1])
        for path, n in ((text, 1), (text, 3), (packed, 2))
    ]
    assert len({est.coef_.tobytes() + est.intercept_.tobytes() for est in found}) == 1
    other = bd.SGDClassifier(random_state=4).partial_fit(bd.stream(str(text), data=BLOCK), classes=[0, 1])
    assert other.coef_.tobytes() != found[0].coef_.tobytes()


def test_streams_and_rows_follow_each_other(text, tmp_path):
    lines = text.read_text().splitlines(keepends=True)
    first, second = tmp_path / "a.svm", tmp_path / "b.svm"
    first.write_text("".join(lines[:800]))
    second.write_text("".join(lines[800:]))
    wide = BLOCK | {"n_features": 60}
    both = learner().partial_fit(bd.stream(str(first), data=wide), classes=[0, 1])
    assert both.t_ >= 40
    both.partial_fit(bd.stream(str(second), data=wide))
    mixed = learner().partial_fit(bd.ingest(str(first), out=tmp_path / "a.blocks", data=wide), classes=[0, 1])
    mixed.partial_fit(bd.stream(str(second), data=wide))
    np.testing.assert_allclose(both.coef_, mixed.coef_, rtol=1e-4, atol=1e-7)
    assert (len(both.loss_curve_), both.n_iter_) == (2, 2)
    more = bd.Dataset.from_arrays(np.eye(60), np.arange(60) % 2.0)
    mixed.partial_fit(more)
    assert mixed.n_iter_ == 3


def test_an_l1_penalty_leaves_features_out(text):
    rows = bd.stream(str(text), data=BLOCK)
    sparse = learner(alpha=0.02, l1_ratio=1.0).partial_fit(rows, classes=[0, 1])
    assert 0 < np.count_nonzero(sparse.coef_) < np.count_nonzero(learner().partial_fit(rows, classes=[0, 1]).coef_)
    assert sparse.intercept_[0] != 0.0


def test_hashed_columns_named_classes_and_a_model_that_reads_raw_files(tmp_path):
    rng = np.random.default_rng(0)
    lines = ["place,size,risk"]
    for _ in range(3000):
        place, size = rng.integers(0, 50), rng.normal()
        lines.append(f"p{place},{size:.3f},{'high' if place % 5 + size + rng.normal() > 2 else 'low'}")
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(lines) + "\n")
    features = {"numeric": ["size"], "hashed": ["place"], "bits": 20}
    rows = bd.stream(str(path), "csv", label="risk", data={"block_bytes": 8000}, features=features)
    est = bd.SGDClassifier(batch_size=8).partial_fit(rows)
    assert list(est.classes_) == ["high", "low"]
    assert len(est.model_.ids) <= 51
    truth = np.array([line.rsplit(",", 1)[1] for line in lines[1:]])
    est.model_.save(tmp_path / "model")
    assert np.mean(bd.load_model(tmp_path / "model").predict(path) == truth) > 0.75
    numbers = bd.stream(str(path), "csv", label="size", data={"block_bytes": 8000}, features={"hashed": ["risk"]})
    assert bd.SGDRegressor(batch_size=8).partial_fit(numbers).coef_.shape == (2**18,)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda rows: learner().partial_fit(rows), "say their classes, as in partial_fit"),
        (lambda rows: learner().partial_fit(rows, [0], classes=[0, 1]), "a stream has its targets"),
        (lambda rows: learner(alpha=0.1, optimizer="sgd").partial_fit(rows, classes=[0, 1]), "a penalty needs to know"),
        (lambda rows: learner(mode="averaged").partial_fit(rows, classes=[0, 1]), "learnt from in sequence"),
        (lambda rows: learner().partial_fit(rows, classes=[1, 2]), "label 0"),
    ],
)
def test_what_a_stream_cannot_do_is_refused_in_words(text, make, message):
    with pytest.raises(bd.BlockdotError, match=message):
        make(bd.stream(str(text), data=BLOCK))


def test_a_wrong_line_is_named(text, tmp_path):
    path = tmp_path / "wrong.svm"
    path.write_text(text.read_text() + "1 3:x\n")
    with pytest.raises(bd.BlockdotError, match=r"wrong\.svm:1501: column 5"):
        learner().partial_fit(bd.stream(str(path), data=BLOCK), classes=[0, 1])
    with pytest.raises(bd.BlockdotError, match=r"absent\.svm"):
        bd.stream(str(tmp_path / "absent.svm"))
