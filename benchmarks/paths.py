"""How a path of penalties over folds is solved by the peers: by what they have for it, or model by model.

The answers are the coefficients (d, A·M) and intercepts (A·M,), α by α and fold by fold.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from benchmarks.cases import Case
from benchmarks.ours import MOST_ITERATIONS, Answer, Prepare, Solve
from benchmarks.peers import liblinear_solver, matrix
from benchmarks.problems import Problem

Split = tuple[NDArray[np.int64], NDArray[np.int64]]


def splits(case: Case) -> list[Split]:
    """(train, test) of each fold."""
    fold = case.path.fold
    return [(np.flatnonzero(fold != m), np.flatnonzero(fold == m)) for m in range(case.path.n_folds)]


def sklearn(solver: str) -> Prepare:
    """scikit-learn's LogisticRegressionCV without the last fit, that of all rows."""

    def prepare(case: Case, tol: str) -> Solve:
        from sklearn.linear_model import LogisticRegressionCV

        problem, X, folds = case.path, matrix(case), splits(case)
        strengths = 1.0 / (problem.alphas * len(folds[0][0]))
        est = LogisticRegressionCV(
            Cs=strengths, l1_ratios=(problem.l1_ratio,), cv=folds, solver=solver, tol=float(tol),
            max_iter=MOST_ITERATIONS, refit=False, scoring="neg_log_loss", use_legacy_attributes=False,
        )  # fmt: skip

        def solve() -> Answer:
            found = np.asarray(est.fit(X, case.y).coefs_paths_, np.float64)  # folds, ratios, α, classes, features
            models = found[:, 0, :, 0].transpose(1, 0, 2).reshape(-1, found.shape[-1]).T
            return models[:-1], models[-1]

        return solve

    return prepare


def glum(case: Case, tol: str) -> Solve:
    """glum's cross-validated regression, warm starts along the path."""
    import tabmat
    from glum import GeneralizedLinearRegressorCV

    problem, X, folds = case.path, matrix(case), splits(case)
    table = tabmat.SparseMatrix(X.tocsc()) if sp.issparse(X) else tabmat.DenseMatrix(X)
    est = GeneralizedLinearRegressorCV(
        family="binomial", alphas=problem.alphas, l1_ratio=problem.l1_ratio, cv=folds, gradient_tol=float(tol),
        solver="irls-cd" if problem.l1_ratio else "irls-ls", max_iter=MOST_ITERATIONS, copy_X=False,
    )  # fmt: skip

    def solve() -> Answer:
        est.fit(table, case.y)
        w, b = est.coef_path_[:, 0], est.intercept_path_[:, 0]  # folds, α, features
        return w.transpose(1, 0, 2).reshape(-1, w.shape[-1]).T, b.T.ravel()

    return solve


def skglm(case: Case, tol: str) -> Solve:
    """skglm's proximal Newton, each α from the one before, fold by fold."""
    from skglm.datafits import Logistic
    from skglm.penalties import L1
    from skglm.solvers import ProxNewton

    problem, X = case.path, matrix(case)
    solver = ProxNewton(max_iter=MOST_ITERATIONS, tol=float(tol), fit_intercept=True)
    signs = case.signs
    folds = [(X[train].tocsc() if sp.issparse(X) else np.asfortranarray(X[train]), train) for train, _ in splits(case)]

    def solve() -> Answer:
        models = np.empty((X.shape[1] + 1, len(problem.alphas), problem.n_folds))
        for m, (part, train) in enumerate(folds):
            w, fitted = np.zeros(len(models)), np.zeros(len(train))
            for a, alpha in enumerate(problem.alphas):
                w, *_ = solver.solve(part, signs[train], Logistic(), L1(alpha), w_init=w, Xw_init=fitted)
                fitted = part @ w[:-1] + w[-1]
                models[:, a, m] = w
        flat = models.reshape(len(models), -1)
        return flat[:-1], flat[-1]

    return solve


def liblinear(case: Case, tol: str) -> Solve:
    """LIBLINEAR, each model by a fit of its own."""
    problem = case.path
    rows = [case.rows.take(train) for train, _ in splits(case)]
    parts = [Case(case.name, part, Problem(problem.loss, 1.0)) for part in rows]
    solvers = [liblinear_solver(part, problem.l1_ratio) for part in parts]

    def solve() -> Answer:
        found: list[Any] = [solver(float(alpha), tol) for alpha in problem.alphas for solver in solvers]
        return np.stack([w.copy() for w, _ in found], axis=1), np.array([b for _, b in found])

    return solve
