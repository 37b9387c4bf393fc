"""A fit that begins again with the journal of an interrupted one: the same bits, and nothing is done twice."""

import numpy as np
import pytest

import blockdot as bd
from blockdot.blocks.sums import Blocks
from blockdot.errors import SpecError
from blockdot.models.fit import fit
from blockdot.models.folds import HashedFolds
from blockdot.models.journal import Journal
from blockdot.models.path import Grid, fit_path
from blockdot.models.recipe import Recipe


class InterruptionError(Exception):
    pass


def interrupt_at(call):
    """A callback that interrupts the fit at its ``call``-th call."""
    calls = []

    def callback(state):
        calls.append(state.iteration)
        if len(calls) == call:
            raise InterruptionError

    return callback


def rows(positive=False):
    rng = np.random.default_rng(3)
    if positive:
        X = rng.uniform(0.5, 1.5, (200, 15))
        return bd.Dataset.from_arrays(X, X @ rng.uniform(0.0, 1.0, 15) * rng.gamma(8.0, 0.125, 200), block_rows=50)
    X = rng.normal(size=(200, 15)) * 10.0 ** rng.uniform(-1, 0.5, 15)
    z = X @ (rng.normal(size=15) * (rng.random(15) < 0.5)) / 3
    return bd.Dataset.from_arrays(X, (z + rng.normal(size=200) > 0.0).astype(float), block_rows=50)


def one(recipe, positive=False):
    data = rows(positive)

    def run(journal, *callbacks):
        model, result = fit(data, recipe, bd.ThreadPool(2), journal=journal, callbacks=callbacks)
        return model.coef.tobytes() + model.tail.tobytes() + model.info.model_dump_json().encode(), result

    return run


def path(recipe):
    data = rows()

    def run(journal, *callbacks):
        grid = Grid(n_alphas=5, eps=0.05)
        model, found = fit_path(
            data, recipe, bd.ThreadPool(1), grid, HashedFolds(3), journal=journal, callbacks=callbacks
        )
        bits = model.coef.tobytes() + found.losses.tobytes() + found.coef.tobytes() + found.intercept.tobytes()
        return bits + model.info.model_dump_json().encode(), found.results[found.best]

    return run


RUNS = {
    "Newton-CG": one(Recipe("logistic", alpha=1e-4, solver="newton-cg")),
    "a path of penalties": one(Recipe("logistic", alpha=1e-4, l1_ratio=1.0)),
    "smooth losses towards a kink": one(Recipe("hinge", alpha=1e-3, tol=1e-4)),
    "least squares on the link first": one(
        Recipe("gamma", {"link": "identity"}, alpha=1e-3, fit_intercept=False), positive=True
    ),
    "a path with cross-validation": path(Recipe("logistic", l1_ratio=0.5)),
}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_an_interrupted_fit_goes_on_to_the_same_bits_without_doing_anything_twice(run, monkeypatch, tmp_path):
    passes = []
    real = Blocks.sum
    monkeypatch.setattr(Blocks, "sum", lambda self, *given: (passes.append(1), real(self, *given))[1])
    calls = []
    bits, whole = run(Journal(), calls.append)
    everything = len(passes)
    for call in sorted({1, len(calls) // 3 + 1, len(calls) // 2 + 1, len(calls)}):
        with Journal(tmp_path / str(call)) as journal:
            with pytest.raises(InterruptionError):
                run(journal, interrupt_at(call))
            passes.clear()
            again, result = run(journal)
        assert again == bits
        assert (result.iterations, result.evaluations, result.message) == (
            whole.iterations, whole.evaluations, whole.message,
        )  # fmt: skip
        if call == len(calls):
            assert len(passes) < everything / 2


@pytest.mark.parametrize("every", [0.0, 1e-3, 3600.0])
def test_many_interruptions_in_one_fit(every, tmp_path):
    run = RUNS["a path of penalties"]
    bits, _ = run(Journal())
    interruptions = 0
    with Journal(tmp_path, every=every) as journal:
        while True:
            try:
                again, _ = run(journal, interrupt_at(2))
                break
            except InterruptionError:
                interruptions += 1
    assert again == bits
    assert interruptions > 5


def test_the_journal_of_another_fit_is_refused(tmp_path):
    with Journal(tmp_path) as journal:
        RUNS["a path with cross-validation"](journal)
        with pytest.raises(SpecError, match="this journal is of another fit"):
            RUNS["a path of penalties"](journal)


def test_without_a_directory_nothing_is_kept():
    journal = Journal()
    RUNS["a path with cross-validation"](journal)
    assert journal.progress == ((), None, None)
