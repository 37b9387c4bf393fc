"""Networks as estimators: scikit-learn's checks and manners, batches and full gradients, bits, what is refused."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import blockdot as bd

# Rows that are there twice are dealt into other batches than rows that weigh twice as much, so the steps are others;
# scikit-learn's own networks and SGD models have these two checks on the same list.
WEIGHTS = {
    f"check_sample_weight_equivalence_on_{kind}_data": "batches are dealt out by rows, whatever they weigh"
    for kind in ("dense", "sparse")
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(
    [
        bd.MLPClassifier(hidden_layer_sizes=(16,)),
        bd.MLPRegressor(hidden_layer_sizes=(16,)),
        bd.MLPClassifier(hidden_layer_sizes=(16,), solver="lbfgs", activation="tanh", alpha=1e-3),
    ],
    expected_failed_checks=lambda estimator: WEIGHTS if estimator.solver == "adam" else {},
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)
