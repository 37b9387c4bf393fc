"""Job specs: every file in jobs/ and cluster/ is read; what is wrong is refused in words."""

import tomllib
from pathlib import Path

import pytest

from blockdot.errors import SpecError
from blockdot.jobs.spec import load_job

ROOT = Path(__file__).parents[2]

SPEC = """
[job]
name = "t"
[data]
format = "svmlight"
train = "a.svm"
[model]
kind = "logistic"
"""


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "job.toml"
    path.write_text(SPEC)
    return path


@pytest.mark.parametrize("path", sorted((ROOT / "jobs").glob("*.toml")), ids=lambda p: p.name)
@pytest.mark.parametrize("cluster", [None, *sorted((ROOT / "cluster").glob("*.toml"))], ids=lambda p: p and p.name)
def test_every_job_and_every_cluster_file_is_valid(path, cluster):
    job = load_job(path, cluster=None if cluster is None else str(cluster))
    assert job.job.name == path.stem


def test_the_resolved_spec_says_the_same(tmp_path):
    job = load_job(ROOT / "jobs/flights.toml", ["model.alpha=1e-3"])
    resolved = tmp_path / "job.toml"
    resolved.write_text(job.to_toml())
    assert load_job(resolved) == job
    assert tomllib.loads(resolved.read_text())["model"]["alpha"] == 1e-3


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("model.alhpa=1", ["[model] alhpa", "'alpha'"]),
        ("sovler.tol=1", ["[sovler]", "'solver'"]),
        ("data.split.fracton=0.1", ["[data] split.fracton", "'fraction'"]),
        ("model.alpha=-1", ["[model] alpha", "greater than or equal to 0", "-1"]),
        ("model.activation=tanh", ["[model]", "activation goes with hidden layers"]),
        ("model.hidden=[0]", ["[model] hidden.0", "greater than or equal to 1"]),
        ("model.kind=svm", ["[model] kind", "'logistic'", "svm"]),
        ("job.name=a/b", ["[job] name"]),
        ("cluster.kind=scheduler", ["cluster", "address"]),
        ("cluster.address=tcp://127.0.0.1:1", ["address goes with"]),
        ("solver.step=0", ["[solver] step"]),
        ("solver.epochs=3", ["[solver]", 'epochs goes with name = "online"']),
        ("data.label=y", ["the format 'svmlight' needs label = { rule"]),
        ("model", ["--set model", "table.key=value"]),
        ("job.name.x=1", ["is not a table"]),
    ],
)
def test_a_wrong_setting_is_refused_in_words(spec, setting, words):
    with pytest.raises(SpecError) as error:
        load_job(spec, [setting])
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("setting", "words"),
    [("model.activation=swish", "activation is 'swish'; needed one of"), ("model.cv=3", "go with linear models")],
)
def test_hidden_layers_go_with_what_a_network_has(spec, setting, words):
    network = load_job(spec, ["model.hidden=[8, 4]", "model.activation=tanh"]).model.network
    assert (network.hidden, network.activation) == ((8, 4), "tanh")
    assert load_job(spec, ["model.hidden=8"]).model.network.hidden == (8,)
    assert load_job(spec).model.network is None
    with pytest.raises(SpecError, match=words):
        load_job(spec, ["model.hidden=[4]", setting])


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("solver.max_iter=9", "max_iter goes with another solver"),
        ("solver.optimizer=rms", "optimizer is 'rms'; needed one of ftrl"),
        ("solver.schedule=cosine", "a schedule and warmup go with the other optimizers"),
    ],
)
def test_online_learning_has_keys_of_its_own(spec, setting, words):
    settings = ["solver.name=online", "solver.optimizer=adam", "solver.rate=0.01", "solver.held_out=0.1"]
    online = load_job(spec, settings).solver.online
    assert (online.optimizer, online.rate, online.held_out, online.epochs) == ("adam", 0.01, 0.1, None)
    with pytest.raises(SpecError, match=words):
        load_job(spec, ["solver.name=online", setting])


def test_a_missing_table_is_named(tmp_path):
    path = tmp_path / "job.toml"
    path.write_text('[job]\nname = "t"\n')
    with pytest.raises(SpecError, match=r"\[data\].*needed") as error:
        load_job(path)
    assert "[model]" in str(error.value)


def test_what_is_not_toml_is_refused_with_its_place(tmp_path):
    path = tmp_path / "job.toml"
    path.write_text("[job\n")
    with pytest.raises(SpecError, match=r"job\.toml is not valid TOML.*line 1"):
        load_job(path)
    with pytest.raises(SpecError, match=r"jbo\.toml: there is no such file; the nearest one is \S+job\.toml"):
        load_job(tmp_path / "jbo.toml")
    with pytest.raises(SpecError, match=r"absent: there is no such file; correct the path"):
        load_job(tmp_path / "none/absent")
    with pytest.raises(SpecError, match="cannot be read"):
        load_job(tmp_path)


def test_settings_are_toml_or_plain_strings(spec):
    job = load_job(spec, ["model.alpha=1e-2", "data.train=b.svm", 'data.test=["c.svm"]', "model.fit_intercept=false"])
    assert (job.model.alpha, job.data.train, job.data.test) == (1e-2, ("b.svm",), ("c.svm",))
    assert not job.model.fit_intercept


def test_a_cluster_file_or_an_address_takes_the_place_of_the_table(spec, tmp_path):
    assert load_job(spec, cluster="tcp://127.0.0.1:99").cluster.address == "tcp://127.0.0.1:99"
    local = load_job(spec, ["cluster.workers=3"], cluster=str(ROOT / "cluster/local.toml"))
    assert (local.cluster.kind, local.cluster.workers) == ("local", 3)
    wrong = tmp_path / "cluster.toml"
    wrong.write_text("[job]\n")
    with pytest.raises(SpecError, match=r"one table, \[cluster\]"):
        load_job(spec, cluster=str(wrong))
