"""Jobs with hidden layers, by the command line: online and by full gradients, planned, and scored."""

import json
from pathlib import Path

import pytest
from command_line import blockdot, settings

import blockdot as bd

JOB = Path(__file__).parents[2] / "jobs/mlp.toml"


def test_the_job_of_a_network(flights_file, tmp_path):
    out = tmp_path / "run"
    arguments = [JOB, *settings(data__train=flights_file, job__output=out)]
    done = blockdot("run", *arguments)
    assert done.returncode == 0, done.stderr
    assert "fit: online adagrad learnt 3 passes in" in done.stderr
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["test"]["roc_auc"] > 0.55
    assert metrics["test"]["log_loss"] < metrics["constant"]["log_loss"]
    model = bd.load_model(out / "model")
    assert model.info.network.hidden == (32,)
    assert model.coef.shape == (len(bd.Dataset.open(out / "train.blocks").table), 32)
    assert "fit: done already" in blockdot("run", *arguments).stderr
    planned = blockdot("plan", *arguments)
    assert planned.returncode == 0, planned.stderr


def test_a_network_by_full_gradients_and_what_is_refused(orders_file, tmp_path):
    out = tmp_path / "run"
    spec = JOB.parent / "regression.toml"
    layers = settings(data__train=orders_file, job__output=out, model__hidden="[8]", model__activation="softplus")
    done = blockdot("run", spec, *layers, *settings(model__standardize="true", solver__tol=1e-3))
    assert done.returncode == 0, done.stderr
    assert json.loads((out / "metrics.json").read_text())["test"]["r2"] > 0.9
    refused = blockdot("run", spec, *layers, *settings(solver__name="newton-cholesky"))
    assert (refused.returncode, "needs a linear model" in refused.stderr) == (2, True)


@pytest.mark.parametrize("solver", ["newton-cg", "gauss-newton"])
def test_products_of_second_order(solver, orders_file, tmp_path):
    spec = JOB.parent / "regression.toml"
    how = settings(data__train=orders_file, job__output=tmp_path / "run", model__hidden="[4]", model__alpha=0.01)
    done = blockdot("run", spec, *how, *settings(solver__name=solver, solver__tol=1e-2, model__standardize="true"))
    assert done.returncode == 0, done.stderr
    assert "fit: Newton-CG converged" in done.stderr
