"""Jobs with each kind of model: fitted, evaluated and scored from raw files, in this process."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import sklearn.metrics as peer
from click.testing import CliRunner

import blockdot as bd
from blockdot.cli import main
from blockdot.jobs.spec import load_job
from blockdot.jobs.stages import Quiet, Run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def claims_file(tmp_path):
    """Policies with their exposure, claims and amounts, and a class of risk."""
    rng = np.random.default_rng(2)
    lines = ["policy,exposure,age,region,claims,amount,risk"]
    for i in range(600):
        exposure, age, region = rng.uniform(0.1, 1.0), int(rng.integers(18, 80)), rng.choice(["n", "s", "e"])
        rate = np.exp(-0.5 + 0.02 * (age - 40) + 0.8 * (region == "n"))
        claims = rng.poisson(exposure * rate)
        amount = rng.gamma(2.0, rate + 0.1)
        risk = ["low", "middle", "high"][int(np.digitize(rate + 0.3 * rng.normal(), [0.6, 1.2]))]
        lines.append(f"p{i},{exposure:.3f},{age},{region},{claims},{amount + 0.01:.4f},{risk}")
    path = tmp_path / "claims.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def run(claims_file, tmp_path, label, model, *more):
    spec = tmp_path / "job.toml"
    spec.write_text(
        f"""
[job]
name = "claims"
[data]
format = "csv"
train = ["{claims_file}"]
label = "{label}"
block_bytes = 4000
split = {{ fraction = 0.25 }}
{more[0] if more else ""}
[features]
numeric = ["age"]
one_hot = ["region"]
[model]
{model}
"""
    )
    return Run(load_job(spec, [f"job.output={tmp_path / 'run'}"])).run()


COUNTS = 'offset = { column = "exposure", transform = "log" }'
KINDS = {
    "poisson": ("claims", 'kind = "poisson"', COUNTS),
    "tweedie": ("claims", 'kind = "tweedie"\npower = 1.5', COUNTS),
    "gamma": ("amount", 'kind = "gamma"\nstandardize = true'),
    "inverse gaussian": ("amount", 'kind = "inverse-gaussian"'),
    "huber": ("amount", 'kind = "huber"\ndelta = 0.5\nl1_ratio = 0.5\nalpha = 0.01'),
    "quantile": ("amount", 'kind = "quantile"\nquantile = 0.9\nalpha = 0.001'),
    "svr": ("amount", 'kind = "svr"\nepsilon = 0.1\nalpha = 0.001'),
    "non-negative": ("amount", 'kind = "linear"\nlower = 0.0'),
    "softmax": ("risk", 'kind = "logistic"\nclass_weight = "balanced"'),
    "one-vs-rest": ("risk", 'kind = "logistic"\nmulti_class = "one-vs-rest"\nstandardize = true'),
    "path": ("amount", 'kind = "linear"\nalphas = "path"\nn_alphas = 8\ncv = 3\nl1_ratio = 0.9\nrule = "1se"'),
    "path, softmax": ("risk", 'kind = "logistic"\nalphas = "path"\nn_alphas = 6\ncv = 3\nstandardize = true'),
    "path, one-vs-rest": (
        "risk",
        'kind = "logistic"\nmulti_class = "one-vs-rest"\nalphas = [0.01, 0.1]\nl1_ratio = 1.0',
    ),
    "path, time": ("amount", 'kind = "linear"\nalphas = "path"\nn_alphas = 8\ncv = { folds = 3, by = "time" }'),
    "path, quantile": ("amount", 'kind = "quantile"\nquantile = 0.9\nalphas = [0.01, 0.1]\ncv = 2'),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_of_each_kind(kind, claims_file, tmp_path):
    found = run(claims_file, tmp_path, *KINDS[kind])
    assert found["fit"]["status"] == "converged"
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    better = "accuracy" if kind.endswith(("softmax", "one-vs-rest")) else None
    if kind in ("poisson", "tweedie", "gamma", "inverse gaussian"):
        better = "d2"
        assert metrics["test"]["deviance"] < metrics["constant"]["deviance"]
    if better:
        assert metrics["test"][better] > metrics["constant"][better]
    scored = pq.read_table(tmp_path / "run" / "predictions")
    assert scored.num_rows == metrics["test"]["rows"]
    if kind.endswith("softmax"):
        assert {"probability_low", "probability_middle", "probability_high"} <= set(scored.column_names)
        assert set(scored["prediction"].to_pylist()) <= {"low", "middle", "high"}
    model = bd.load_model(tmp_path / "run" / "model")
    assert model.predict(str(claims_file)).shape == (600,)
    if kind.startswith("path"):
        assert model.info.fit.alpha == found["fit"]["alpha"] > 0


@pytest.fixture
def questions_file(tmp_path):
    """Questions with their tags: some have several, some none, and one has a tag that no other has."""
    rng = np.random.default_rng(3)
    words = {"python": "import", "sql": "join", "speed": "slow", "plots": "axis"}
    lines = ["user,forum,length,word,tags"]
    for i in range(600):
        word, forum = rng.choice([*words.values(), "why"]), rng.choice(["help", "show"])
        tags = [tag for tag, near in words.items() if rng.random() < (0.8 if word == near else 0.1)]
        tags = [*tags, "odd"] if i == 5 else tags
        lines.append(f"u{i // 2},{forum},{int(rng.integers(20, 400))},{word},{'|'.join(tags)}")
    path = tmp_path / "questions.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


TAGS = ("odd", "plots", "python", "speed", "sql")


def test_the_job_of_tags(questions_file, tmp_path):
    out = tmp_path / "run"
    settings = [f"data.train={questions_file}", f"job.output={out}", "data.block_bytes=4000"]
    found = Run(load_job(ROOT / "jobs/tags.toml", settings)).run()
    assert found["fit"]["status"] == "converged"
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["test"]["f1_micro"] > 0.6
    for name in ("log_loss", "hamming_loss"):
        assert metrics["test"][name] < metrics["constant"][name]
    for name in ("roc_auc_macro", "average_precision_micro", "accuracy"):
        assert metrics["test"][name] > metrics["constant"][name]
    model, test = bd.load_model(out / "model"), bd.Dataset.open(out / "test.blocks")
    assert model.info.classes == test.classes == TAGS
    scored = pq.read_table(out / "predictions").to_pandas()
    columns = [f"{what}_{tag}" for what in ("label", "prediction", "probability") for tag in TAGS]
    assert scored.columns.tolist() == ["file", "line", *columns]
    of = {what: scored[[f"{what}_{tag}" for tag in TAGS]].to_numpy() for what in ("label", "prediction", "probability")}
    assert np.array_equal(
        of["label"], np.concatenate([block.y for block in map(test.source.block, range(test.n_blocks))])
    )
    assert np.array_equal(of["prediction"], of["probability"] > 0.5)
    assert metrics["test"]["f1_macro"] == pytest.approx(
        peer.f1_score(of["label"], of["prediction"], average="macro", zero_division=np.nan)
    )
    assert metrics["test"]["accuracy"] == peer.accuracy_score(of["label"], of["prediction"])
    shown = CliRunner().invoke(
        main, ["evaluate", str(ROOT / "jobs/tags.toml"), *(f"--set={each}" for each in settings)]
    )
    table = [line for line in shown.output.splitlines() if line.startswith(("metric", *metrics["test"]))]
    assert len(table) == 1 + len(metrics["test"])
    assert len({len(line) for line in table}) == 1, "the columns are one below the other"
    assert "label columns        5" in CliRunner().invoke(main, ["inspect", str(out / "test.blocks")]).output
    assert "every block is whole" in CliRunner().invoke(main, ["verify", str(out / "test.blocks")]).output
    whole = model.predict(questions_file)
    assert whole.shape == (600, 5)
    lines = scored["line"].to_numpy() - 2
    assert np.array_equal(whole[lines], of["prediction"])


def test_labels_that_no_training_row_has_are_named(questions_file, tmp_path):
    out, said = tmp_path / "run", []

    class Listening(Quiet):
        def say(self, text):
            said.append(text)

    row = questions_file.read_text().splitlines()[6]
    assert row.endswith("odd")
    text = questions_file.read_text().replace("odd", "")
    questions_file.write_text(text.replace("|\n", "\n"))
    (tmp_path / "test.csv").write_text(f"user,forum,length,word,tags\n{row}\n")
    settings = [f"data.train={questions_file}", f"data.test={tmp_path / 'test.csv'}", f"job.output={out}"]
    spec = (ROOT / "jobs/tags.toml").read_text().replace("split = { fraction = 0.25, seed = 1 }\n", "")
    (tmp_path / "job.toml").write_text(spec)
    with pytest.raises(
        bd.BlockdotError, match=r"test.csv:2: column 'tags': found 'odd', needed one of the labels plots"
    ):
        Run(load_job(tmp_path / "job.toml", settings), Listening()).run()
    # of a split all labels are known, and one that lies on the side of the test set is a constant
    held = tmp_path / "held.csv"
    held.write_text("side," + questions_file.read_text().replace("\nu", "\na,u") + f"b,{row}\n")
    split = 'split = { column = "side", test = ["b"] }'
    (tmp_path / "job.toml").write_text(spec.replace("[features]", f"{split}\n[features]"))
    Run(load_job(tmp_path / "job.toml", [f"data.train={held}", f"job.output={out}"]), Listening()).run()
    assert "fit: every row has these labels, or none has, and a constant predicts them: odd" in said
    metrics = json.loads((out / "metrics.json").read_text())
    assert np.isfinite(metrics["test"]["log_loss"])


def test_svmlight_rows_with_labels_and_a_path(tmp_path):
    rng = np.random.default_rng(4)
    lines = []
    for _ in range(400):
        ids = np.sort(rng.choice(12, 4, replace=False)) + 1
        labels = [c for c in (1, 2, 7) if c in ids or rng.random() < 0.1]
        lines.append(",".join(map(str, labels)) + " " + " ".join(f"{i}:1" for i in ids))
    (tmp_path / "train.svm").write_text("\n".join(lines) + "\n")
    spec = tmp_path / "job.toml"
    spec.write_text(
        f"""
[job]
name = "labels"
[data]
format = "svmlight"
train = ["{tmp_path / "train.svm"}"]
label = {{ separator = "," }}
block_bytes = 2000
split = {{ fraction = 0.25 }}
[model]
kind = "logistic"
alphas = "path"
n_alphas = 6
cv = 3
l1_ratio = 0.5
"""
    )
    out = [f"job.output={tmp_path / 'run'}"]
    Run(load_job(spec, out)).run()
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["test"]["f1_micro"] > 0.9 > metrics["constant"]["f1_micro"]
    model = bd.load_model(tmp_path / "run" / "model")
    assert model.info.classes == ("1", "2", "7")
    assert model.predict_proba(tmp_path / "train.svm").shape == (400, 3)
    with pytest.raises(bd.BlockdotError, match="class_weight goes with classes that exclude each other"):
        Run(load_job(spec, [*out, "model.class_weight=balanced"])).run()


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ('kind = "logistic"\npower = 1.5', "power goes with kind = \"tweedie\", not with 'logistic'"),
        ('kind = "tweedie"', 'kind = "tweedie" needs power, such as 1.5'),
        ('kind = "linear"\nalpha = 1.0\ncv = 5', "alpha is chosen by cross-validation"),
        ('kind = "linear"\ncv = 1', "cv.folds: Input should be greater than or equal to 2"),
        ('kind = "linear"\ncv = { fold = 3 }', "cv.fold: there is no such key; the nearest known one is 'folds'"),
        ('kind = "linear"\nl1_ratio = 2.0', "l1_ratio: Input should be less than or equal to 1"),
    ],
)
def test_what_does_not_go_together_is_refused(model, words, claims_file, tmp_path):
    with pytest.raises(bd.BlockdotError, match=words):
        run(claims_file, tmp_path, "amount", model)


@pytest.mark.parametrize("line", [3, 4, 5, 6, 7, 8, 9, 10])  # some of them are held out for testing
def test_a_target_that_a_loss_cannot_take_is_named_by_its_line(line, claims_file, tmp_path):
    text = claims_file.read_text().splitlines()
    text[line - 1] = ",".join([*text[line - 1].split(",")[:5], "-3.0", "low"])
    claims_file.write_text("\n".join(text) + "\n")
    words = rf"claims.csv:{line}: the target is -3; Gamma needed numbers above 0: mend or drop the row"
    with pytest.raises(bd.BlockdotError, match=words):
        run(claims_file, tmp_path, "amount", 'kind = "gamma"')


def test_the_job_of_claims(claims_file, tmp_path):
    out = tmp_path / "run"
    job = load_job(ROOT / "jobs/claims.toml", [f"data.train={claims_file}", f"job.output={out}"])
    found = Run(job).run()
    assert found["fit"]["status"] == "converged"
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["test"]["deviance"] < metrics["constant"]["deviance"]
