"""How a case is solved by blockdot and by the systems that take arrays."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import DTypeLike, NDArray

from benchmarks.cases import DENSE_ABOVE, Case

Answer = tuple[NDArray[np.float64], float]
Solve = Callable[[], Answer]

MOST_ITERATIONS = 100_000


def _answer(est: Any) -> Answer:
    return np.asarray(est.coef_, np.float64).ravel(), float(np.ravel(est.intercept_)[0])


def _fitted(est: Any, *data: Any) -> Answer:
    est.fit(*data)
    return _answer(est)


def _blockdot(case: Case, tol: str, n_jobs: int | None, **options: Any) -> Solve:
    import blockdot as bd

    ds = bd.Dataset.from_arrays(case.X, case.y)
    est = bd.LogisticRegression(alpha=case.alpha, tol=float(tol), n_jobs=n_jobs, **{"max_iter": 1000, **options})
    return lambda: _fitted(est, ds)


def blockdot_one(case: Case, tol: str) -> Solve:
    """blockdot with one thread."""
    return _blockdot(case, tol, 1)


def blockdot_all(case: Case, tol: str) -> Solve:
    """blockdot with a thread for each core."""
    return _blockdot(case, tol, None)


def blockdot_reference(case: Case, tol: str, seconds: float) -> Solve:
    """A tight fit that gives what it has when the time is over."""
    end = time.perf_counter() + seconds
    return _blockdot(case, tol, None, max_iter=MOST_ITERATIONS, callbacks=(lambda _: time.perf_counter() > end,))


def _matrix(case: Case, dtype: DTypeLike = np.float64) -> sp.csr_matrix | NDArray[np.floating]:
    matrix = case.X.astype(dtype)
    return matrix.toarray() if case.density > DENSE_ABOVE else matrix


def sklearn(solver: str, dtype: DTypeLike = np.float64) -> Callable[[Case, str], Solve]:
    """scikit-learn's LogisticRegression with ``solver``, on numbers of type ``dtype``."""

    def prepare(case: Case, tol: str) -> Solve:
        from sklearn.linear_model import LogisticRegression

        X, y = _matrix(case, dtype), case.y.astype(dtype)
        strength = 1.0 / (case.alpha * len(y))
        est = LogisticRegression(C=strength, solver=solver, tol=float(tol), max_iter=MOST_ITERATIONS)
        return lambda: _fitted(est, X, y)

    return prepare


def liblinear(case: Case, tol: str) -> Solve:
    """LIBLINEAR's own library: -s 0, with a bias that is not penalised."""
    from liblinear.liblinear import liblinear as library
    from liblinear.liblinear import parameter, problem

    strength = 1.0 / (case.alpha * len(case.y))
    rows = problem(case.signs, case.X, bias=1)
    options = parameter(f"-s 0 -c {strength!r} -B 1 -R -e {tol} -q")
    refused = library.check_parameter(rows, options)
    if refused:
        raise ValueError(refused)

    def solve() -> Answer:
        model = library.train(rows, options).contents
        sign = 1.0 if model.label[0] == 1 else -1.0
        w = sign * np.ctypeslib.as_array(model.w, (case.X.shape[1] + 1,))
        return w[:-1], float(w[-1])

    return solve


def snapml(ones: float) -> Callable[[Case, str], Solve]:
    """Snap ML's dual solver on two threads; the bias is the weight of a column of ``ones``, and is penalised."""

    def prepare(case: Case, tol: str) -> Solve:
        from snapml import LogisticRegression

        est = LogisticRegression(
            regularizer=case.alpha * len(case.y),
            tol=float(tol),
            max_iter=MOST_ITERATIONS,
            n_jobs=2,
            fit_intercept=True,
            intercept_scaling=ones,
        )

        def solve() -> Answer:
            w, weight_of_ones = _fitted(est, case.X, case.signs)
            return w, ones * weight_of_ones

        return solve

    return prepare


def glum(case: Case, tol: str) -> Solve:
    """glum's binomial regression on a tabmat matrix."""
    import tabmat
    from glum import GeneralizedLinearRegressor

    from benchmarks.systems import LOW

    X, y = _matrix(case), case.y.astype(np.float64)
    matrix = tabmat.SparseMatrix(X.tocsc()) if sp.issparse(X) else tabmat.DenseMatrix(X)
    est = GeneralizedLinearRegressor(
        family="binomial",
        alpha=case.alpha,
        l1_ratio=0,
        solver="irls-ls" if case.X.shape[1] <= LOW else "lbfgs",
        gradient_tol=float(tol),
        max_iter=MOST_ITERATIONS,
        copy_X=False,
    )
    return lambda: _fitted(est, matrix, y)


def skglm(case: Case, tol: str) -> Solve:
    """skglm's L-BFGS; it has no intercept for this solver, so the matrix gets a column of tens for the bias."""
    from skglm.datafits import Logistic
    from skglm.penalties import L2
    from skglm.solvers import LBFGS

    X, tens = _matrix(case), np.full((len(case.y), 1), 10.0)
    matrix = sp.hstack([X, tens], format="csc") if sp.issparse(X) else np.asfortranarray(np.hstack([X, tens]))
    solver, targets = LBFGS(max_iter=MOST_ITERATIONS, tol=float(tol)), case.signs

    def solve() -> Answer:
        w, *_ = solver.solve(matrix, targets, Logistic(), L2(case.alpha))
        return w[:-1], 10.0 * float(w[-1])

    return solve
