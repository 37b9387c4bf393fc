"""Networks on worker processes: the bits of threads, by gradients, by products, and in each way of making steps."""

import numpy as np
import pytest
import scipy.sparse as sp

import blockdot as bd


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    rng = np.random.default_rng(0)
    X = sp.random_array((900, 60), density=0.1, rng=rng, format="csr")
    y = np.argmax(X @ rng.normal(size=(60, 3)) + rng.gumbel(size=(900, 3)), axis=1)
    return bd.Dataset.from_arrays(X, y, block_rows=120).save(tmp_path_factory.mktemp("rows") / "train.blocks")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "how",
    [
        {"solver": "lbfgs", "max_iter": 8},
        {"solver": "newton-cg", "max_iter": 2, "activation": "tanh"},
        {"solver": "gauss-newton", "max_iter": 2, "activation": "gelu"},
        {"mode": "sequential", "max_iter": 2, "batch_size": 50, "dropout": 0.2},
        {"mode": "synchronous", "max_iter": 2, "batch_size": 200, "dropout": 0.2},
        {"mode": "averaged", "max_iter": 2, "batch_size": 20, "dropout": 0.2},
    ],
)
def test_workers_give_the_bits_of_threads(how, data, client):
    def bits(**where):
        model = bd.MLPClassifier(hidden_layer_sizes=(12,), alpha=1e-3, **how, **where).fit(data).model_
        return model.coef.tobytes() + model.tail.tobytes()

    assert bits(client=client) == bits(n_jobs=1) == bits(n_jobs=2)
