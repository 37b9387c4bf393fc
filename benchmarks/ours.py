"""How a case is solved by blockdot."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.cases import Case
from benchmarks.problems import Problem, Tweedie
from benchmarks.rows import Floats, Rows

Answer = tuple[Floats, Floats]
Solve = Callable[[], Answer]
Prepare = Callable[[Case, str], Solve]

MOST_ITERATIONS = 100_000


def one(n_jobs: int | None) -> Prepare:
    """One minimum, by the estimator of its loss."""

    def prepare(case: Case, tol: str) -> Solve:
        return _one(case, tol, n_jobs)

    return prepare


def path(n_jobs: int | None) -> Prepare:
    """All models of a path in shared passes."""

    def prepare(case: Case, tol: str) -> Solve:
        return _path(case, tol, n_jobs)

    return prepare


def separate(n_jobs: int | None) -> Prepare:
    """Each model of a path by a fit of its own."""

    def prepare(case: Case, tol: str) -> Solve:
        return _separate(case, tol, n_jobs)

    return prepare


def reference(case: Case, tol: str, seconds: float) -> Solve:
    """A tight fit that gives what it has when the time is over; of a path, its models one by one."""
    end = time.perf_counter() + seconds
    options = {"max_iter": MOST_ITERATIONS, "callbacks": (lambda _: time.perf_counter() > end,)}
    return (_separate if case.problem.kind.startswith("path") else _one)(case, tol, None, **options)


def estimator(problem: Problem, **options: Any) -> Any:
    """The estimator of a problem that has one minimum."""
    import blockdot as bd

    options = {"alpha": problem.alpha, "l1_ratio": problem.l1_ratio, "max_iter": 1000, **options}
    if not isinstance(problem.loss, Tweedie):
        return bd.LogisticRegression(**options)
    if problem.loss.power == 1.0:
        return bd.PoissonRegressor(**options)
    return bd.TweedieRegressor(power=problem.loss.power, **options)


def dataset(rows: Rows) -> Any:
    """The rows as blockdot takes them."""
    import blockdot as bd

    return bd.Dataset.from_arrays(rows.X, rows.y, rows.weight)


def _one(case: Case, tol: str, n_jobs: int | None, **options: Any) -> Solve:
    data = dataset(case.rows)
    est = estimator(case.one, tol=float(tol), n_jobs=n_jobs, **options)

    def solve() -> Answer:
        est.fit(data)
        return np.squeeze(np.asarray(est.coef_, np.float64).T), np.squeeze(est.intercept_)

    return solve


def _path(case: Case, tol: str, n_jobs: int | None) -> Solve:
    import blockdot as bd
    from blockdot.models.folds import GivenFolds
    from blockdot.models.journal import Journal
    from blockdot.models.path import Grid, fit_path
    from blockdot.models.recipe import Recipe

    problem, data = case.path, dataset(case.rows)
    test = problem.fold[:, np.newaxis] == np.arange(problem.n_folds)
    recipe = Recipe("logistic", l1_ratio=problem.l1_ratio, tol=float(tol), max_iter=1000)

    class Kept(Journal):
        """Remembers where each minimisation ended: at each α the models of all folds, and last of them that of all."""

        def __init__(self) -> None:
            super().__init__()
            self.ends: list[Floats] = []

        def minimize(self, *args: Any, **kwargs: Any) -> Any:
            result = super().minimize(*args, **kwargs)
            self.ends.append(result.w)
            return result

    def solve() -> Answer:
        journal, folds, models = Kept(), GivenFolds(~test, test), problem.n_folds + 1
        fit_path(data, recipe, bd.ThreadPool(n_jobs), Grid(problem.alphas), folds, journal=journal)
        ws = np.array([w.reshape(-1, models)[:, :-1] for w in journal.ends[-len(problem.alphas) :]])
        w = np.zeros((case.X.shape[1], len(problem.alphas), problem.n_folds))
        w[data.table.ids] = ws[:, :-1].transpose(1, 0, 2)
        return w.reshape(len(w), -1), ws[:, -1].ravel()

    return solve


def _separate(case: Case, tol: str, n_jobs: int | None, **options: Any) -> Solve:
    import blockdot as bd

    problem = case.path
    folds = [dataset(case.rows.take(np.flatnonzero(problem.fold != m))) for m in range(problem.n_folds)]
    settings = {"l1_ratio": problem.l1_ratio, "tol": float(tol), "n_jobs": n_jobs, "max_iter": 1000, **options}

    def solve() -> Answer:
        fits = [bd.LogisticRegression(alpha=alpha, **settings).fit(fold) for alpha in problem.alphas for fold in folds]
        return np.stack([fit.coef_.ravel() for fit in fits], axis=1), np.array([fit.intercept_[0] for fit in fits])

    return solve
