"""How a case with one minimum is solved by the systems that take arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import DTypeLike, NDArray

from benchmarks.cases import Case
from benchmarks.ours import MOST_ITERATIONS, Answer, Prepare, Solve
from benchmarks.problems import Problem, Tweedie

LOW = 5000  # features: below it, systems that form a dense Hessian take part


def answer(coef: Any, intercept: Any) -> Answer:
    """w, (d,) or (d, K), and b, of what scikit-learn's manners call coef_ and intercept_."""
    return np.squeeze(np.asarray(coef, np.float64).T), np.squeeze(np.asarray(intercept, np.float64))


def matrix(case: Case, dtype: DTypeLike = np.float64) -> sp.csr_matrix | NDArray[np.floating]:
    """X with values of type ``dtype``, as an array where it is dense."""
    X = case.X.astype(dtype)
    return X.toarray() if case.is_dense else X


def sklearn(solver: str, dtype: DTypeLike = np.float64) -> Prepare:
    """scikit-learn's estimator of the problem with ``solver``, on numbers of type ``dtype``."""

    def prepare(case: Case, tol: str) -> Solve:
        X, y = matrix(case, dtype), case.y.astype(dtype)
        est, weight = _sklearn_estimator(case, solver, float(tol)), case.rows.weight

        def solve() -> Answer:
            est.fit(X, y, weight)
            return answer(est.coef_, est.intercept_)

        return solve

    return prepare


def _sklearn_estimator(case: Case, solver: str, tol: float) -> Any:
    from sklearn.linear_model import LogisticRegression, PoissonRegressor, TweedieRegressor

    problem, options = case.one, {"solver": solver, "tol": tol, "max_iter": MOST_ITERATIONS}
    if not isinstance(problem.loss, Tweedie):
        return LogisticRegression(C=1.0 / (problem.alpha * len(case.y)), l1_ratio=problem.l1_ratio, **options)
    if problem.loss.power == 1.0:
        return PoissonRegressor(alpha=problem.alpha, **options)
    return TweedieRegressor(power=problem.loss.power, link="log", alpha=problem.alpha, **options)


def liblinear(case: Case, tol: str) -> Solve:
    """LIBLINEAR's own library: -s 0, for L1 -s 6, with a bias that is not penalised."""
    solve = liblinear_solver(case, case.one.l1_ratio)
    return lambda: solve(case.one.alpha, tol)


def liblinear_solver(case: Case, l1_ratio: float) -> Callable[[float, str], Answer]:
    """The fit to a case's rows for one α and -e."""
    from liblinear.liblinear import liblinear as library
    from liblinear.liblinear import parameter, problem

    rows = problem(case.signs, case.X, bias=1)

    def solve(alpha: float, tol: str) -> Answer:
        kind, strength = 6 if l1_ratio else 0, 1.0 / (alpha * len(case.y))
        options = parameter(f"-s {kind} -c {strength!r} -B 1 -R -e {tol} -q")
        refused = library.check_parameter(rows, options)
        if refused:
            raise ValueError(refused)
        model = library.train(rows, options).contents
        sign = 1.0 if model.label[0] == 1 else -1.0
        w = sign * np.ctypeslib.as_array(model.w, (case.X.shape[1] + 1,))
        return w[:-1], w[-1]

    return solve


def snapml(ones: float) -> Prepare:
    """Snap ML on two threads; the bias is the weight of a column of ``ones``, and is penalised."""

    def prepare(case: Case, tol: str) -> Solve:
        from snapml import LogisticRegression

        options = {"regularizer": case.one.alpha * len(case.y), "tol": float(tol), "n_jobs": 2}
        options["max_iter"] = MOST_ITERATIONS
        if case.one.l1_ratio == 0.0:
            est = LogisticRegression(fit_intercept=True, intercept_scaling=ones, **options)

            def dual() -> Answer:
                est.fit(case.X, case.signs)
                w, b = answer(est.coef_, est.intercept_)
                return w, ones * b

            return dual
        # the primal solver, the one for L1, leaves the bias at 0: so the column is handed in
        column = np.full((len(case.y), 1), ones, np.float32)
        X = sp.hstack([case.X, column], format="csc", dtype=np.float32)
        est = LogisticRegression(penalty="l1", dual=False, fit_intercept=False, **options)

        def primal() -> Answer:
            w, _ = answer(est.fit(X, case.signs).coef_, 0.0)
            return w[:-1], ones * w[-1]

        return primal

    return prepare


def glum(categorical: bool = False) -> Prepare:
    """glum on a sparse or dense matrix of tabmat; ``categorical``: one of its own for each one-hot field."""

    def prepare(case: Case, tol: str) -> Solve:
        import tabmat

        if categorical:
            assert case.rows.fields is not None
            X = categories(case.rows.codes, case.rows.fields)
        else:
            X = tabmat.DenseMatrix(matrix(case)) if case.is_dense else tabmat.SparseMatrix(matrix(case).tocsc())
        est, y, weight = glum_estimator(case.one, case.X.shape[1], float(tol)), case.y, case.rows.weight

        def solve() -> Answer:
            est.fit(X, y, weight)
            return answer(est.coef_, est.intercept_)

        return solve

    return prepare


def categories(codes: NDArray[np.int32], fields: NDArray[np.int64]) -> Any:
    """tabmat's form of one-hot fields: the number of a level for each row and field."""
    import tabmat

    columns = zip(codes.T, np.diff(fields), strict=True)
    made = [tabmat.CategoricalMatrix(np.ascontiguousarray(c), categories=np.arange(k)) for c, k in columns]
    return tabmat.SplitMatrix(made)


def glum_estimator(problem: Problem, n_features: int, tol: float) -> Any:
    """glum's regression: by its Hessian where that is small, else by L-BFGS; with L1 by coordinate descent on it."""
    from glum import GeneralizedLinearRegressor, TweedieDistribution

    solver = "irls-cd" if problem.l1_ratio else "irls-ls" if n_features <= LOW else "lbfgs"
    return GeneralizedLinearRegressor(
        family=TweedieDistribution(problem.loss.power) if isinstance(problem.loss, Tweedie) else "binomial",
        link="log" if isinstance(problem.loss, Tweedie) else "logit",
        alpha=problem.alpha,
        l1_ratio=problem.l1_ratio,
        solver=solver,
        gradient_tol=tol,
        max_iter=MOST_ITERATIONS,
        copy_X=False,
    )


def skglm(case: Case, tol: str) -> Solve:
    """skglm: its L-BFGS for L2, where a column of tens stands for the bias; its proximal Newton for L1."""
    from skglm.datafits import Logistic
    from skglm.penalties import L1, L2, L1_plus_L2
    from skglm.solvers import LBFGS, ProxNewton

    X, targets, alpha, l1_ratio = matrix(case), case.signs, case.one.alpha, case.one.l1_ratio
    if l1_ratio == 0.0:
        tens = np.full((len(case.y), 1), 10.0)
        with_tens = sp.hstack([X, tens], format="csc") if sp.issparse(X) else np.asfortranarray(np.hstack([X, tens]))
        smooth = LBFGS(max_iter=MOST_ITERATIONS, tol=float(tol))

        def solve() -> Answer:
            w, *_ = smooth.solve(with_tens, targets, Logistic(), L2(alpha))
            return w[:-1], 10.0 * w[-1]

        return solve
    columns = X.tocsc() if sp.issparse(X) else np.asfortranarray(X)
    penalty = L1(alpha) if l1_ratio == 1.0 else L1_plus_L2(alpha, l1_ratio)
    newton = ProxNewton(max_iter=MOST_ITERATIONS, tol=float(tol), fit_intercept=True)

    def solve_l1() -> Answer:
        w, *_ = newton.solve(columns, targets, Logistic(), penalty)
        return w[:-1], w[-1]

    return solve_l1
