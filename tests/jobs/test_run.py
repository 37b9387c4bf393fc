"""Whole jobs by the command line, in processes of their own: results, skipped stages, faults, exit codes."""

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from command_line import blockdot, bytes_of, settings

import blockdot as bd
from blockdot.jobs.spec import load_job

ROOT = Path(__file__).parents[2]


def test_svmlight_job(svmlight_job):
    out, arguments = svmlight_job
    done = blockdot("run", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert results["fit"]["status"] == "converged"
    assert results["evaluate"]["test"]["roc_auc"] > 0.8
    assert results["evaluate"]["constant"]["roc_auc"] == 0.5
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics == results["evaluate"]
    predictions = pq.read_table(out / "predictions")
    assert predictions.num_rows == metrics["test"]["rows"]
    assert {"file", "line", "label", "prediction", "probability"} <= set(predictions.column_names)
    right = sum(
        a == b for a, b in zip(predictions["label"].to_pylist(), predictions["prediction"].to_pylist(), strict=True)
    )
    assert right / predictions.num_rows == pytest.approx(metrics["test"]["accuracy"])
    assert load_job(out / "job.toml", [f"job.output={out}"]).model.alpha == 1e-4
    entries = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert any("fit: started" in entry["message"] for entry in entries)


def test_regression_job(orders_file, tmp_path):
    out = tmp_path / "run"
    done = blockdot("run", ROOT / "jobs/regression.toml", *settings(data__train=orders_file, job__output=out))
    assert done.returncode == 0, done.stderr
    assert "read 501 rows of 1 file; dropped 1 (label amount missing)" in done.stderr
    assert re.search(r"dropped +1 \(label amount missing\)\n", blockdot("inspect", out / "train.blocks").stdout)
    assert "block stores in it, and none itself: name one of them (test.blocks, train.blocks)" in (
        blockdot("inspect", out).stderr
    )
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["test"]["r2"] > 0.9
    assert metrics["test"]["rmse"] < metrics["constant"]["rmse"]
    customers = [line.split(",")[0] for line in orders_file.read_text().splitlines()]
    held_out = {customers[line - 1] for line in pq.read_table(out / "predictions")["line"].to_pylist()}
    trained = bd.Dataset.open(out / "train.blocks")
    lines = [i & (2**40 - 1) for b in range(trained.n_blocks) for i in trained.source.block(b).row_id]
    assert held_out.isdisjoint(customers[line - 1] for line in lines)


def test_flights_job_on_its_first_rows(flights_file, tmp_path):
    lines = flights_file.read_bytes().splitlines()
    out = tmp_path / "run"
    done = blockdot("run", ROOT / "jobs/flights.toml", *settings(data__train=flights_file, job__output=out))
    assert done.returncode == 0, done.stderr
    assert "(label arr_delay missing)" in done.stderr
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["test"]["roc_auc"] > 0.55
    test = bd.Dataset.open(out / "test.blocks")
    assert 0 < test.n_rows < 0.25 * len(lines)


def test_online_job_on_its_first_rows(flights_file, tmp_path):
    out = tmp_path / "run"
    arguments = [ROOT / "jobs/online.toml", *settings(data__train=flights_file, job__output=out)]
    done = blockdot("run", *arguments)
    assert done.returncode == 0, done.stderr
    assert "fit: online ftrl learnt one pass in" in done.stderr
    assert load_job(out / "job.toml", [f"job.output={out}"]).solver.online.batch_size == 64
    results = json.loads(blockdot("run", *arguments, "--json").stdout)
    assert (results["fit"]["status"], results["fit"]["relative_grad_norm"]) == ("max_iter", None)
    assert results["evaluate"]["test"]["roc_auc"] > 0.55
    assert results["evaluate"]["test"]["log_loss"] < 1.05 * results["evaluate"]["constant"]["log_loss"]
    before = bytes_of(out)
    assert "fit: done already" in blockdot("run", *arguments).stderr
    strict = blockdot("run", *arguments, "--strict")
    assert (strict.returncode, "solver.held_out = 0.1" in strict.stderr) == (4, True)
    stops = blockdot("run", *arguments, "--strict", *settings(solver__held_out=0.2, solver__epochs=100))
    assert stops.returncode == 0, stops.stderr
    assert "fit: online ftrl the rows held out got no better: learnt" in stops.stderr
    assert bytes_of(out) != before
    planned = blockdot("plan", *arguments)
    assert planned.returncode == 0, planned.stderr
    assert "online ftrl" in planned.stdout


def test_a_stage_that_is_done_is_skipped_and_a_change_runs_it_again(svmlight_job):
    out, arguments = svmlight_job
    assert blockdot("run", *arguments).returncode == 0
    before = bytes_of(out)
    again = blockdot("run", *arguments)
    for stage in ("ingest", "fit", "evaluate", "predict"):
        assert f"{stage}: done already for the same inputs; skipped" in again.stderr
    assert bytes_of(out) == before
    changed = blockdot("run", *arguments, "--set", "model.alpha=1e-2")
    assert "ingest: done already" in changed.stderr
    assert "fit: done already" not in changed.stderr
    assert bytes_of(out) != before


def test_a_damaged_output_is_made_again(svmlight_job):
    out, arguments = svmlight_job
    assert blockdot("run", *arguments).returncode == 0
    before = bytes_of(out)
    (out / "model/weights.safetensors").write_bytes(b"damaged")
    (out / "predictions/_manifest.json").unlink()
    assert blockdot("run", *arguments).returncode == 0
    assert bytes_of(out) == before


def test_the_stages_alone_make_the_same_and_name_what_is_missing(svmlight_job, tmp_path):
    out, arguments = svmlight_job
    missing = blockdot("fit", *arguments)
    assert missing.returncode == 3
    assert "run the stage ingest first" in missing.stderr
    for stage in ("ingest", "fit", "evaluate", "predict"):
        assert blockdot(stage, *arguments).returncode == 0
    stages = bytes_of(out)
    whole = [*arguments, "--set", f"job.output={tmp_path / 'other'}"]
    assert blockdot("run", *whole).returncode == 0
    assert bytes_of(tmp_path / "other") == stages


def test_the_same_bytes_on_threads_and_on_processes(svmlight_job, tmp_path):
    out, arguments = svmlight_job
    assert blockdot("run", *arguments, "--set", "cluster.workers=1").returncode == 0
    other = tmp_path / "processes"
    local = [*arguments, "--set", f"job.output={other}", "--cluster", ROOT / "cluster/local.toml"]
    done = blockdot("run", *local)
    assert done.returncode == 0, done.stderr
    assert bytes_of(other) == bytes_of(out)


def test_a_running_scheduler(svmlight_job, tmp_path):
    from distributed import LocalCluster

    out, arguments = svmlight_job
    assert blockdot("run", *arguments).returncode == 0
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as c:
        other = tmp_path / "scheduler"
        scheduler = ["--cluster", ROOT / "cluster/scheduler.toml", *settings(cluster__address=c.scheduler_address)]
        done = blockdot("run", *arguments, "--set", f"job.output={other}", *scheduler)
    assert done.returncode == 0, done.stderr
    assert bytes_of(other) == bytes_of(out)


def test_no_scheduler_is_said_with_its_address(svmlight_job):
    _, arguments = svmlight_job
    done = blockdot("run", *arguments, "--cluster", "tcp://127.0.0.1:9", "--set", "cluster.wait_seconds=1")
    assert done.returncode == 1
    assert "no scheduler answers at tcp://127.0.0.1:9" in done.stderr


def test_raw_files_are_scored_without_labels(orders_file, tmp_path):
    out = tmp_path / "run"
    arguments = [ROOT / "jobs/regression.toml", *settings(data__train=orders_file, job__output=out)]
    assert blockdot("run", *arguments).returncode == 0
    new = tmp_path / "new.csv"
    new.write_text("region,age,quantity,channel\nnorth,30,2,web\nwest,,1,\n")
    done = blockdot("predict", *arguments, *settings(predict__input=new))
    assert done.returncode == 0, done.stderr
    table = pq.read_table(out / "predictions")
    assert table["line"].to_pylist() == [2, 3]
    assert "label" not in table.column_names
    model = bd.load_model(out / "model")
    assert model.predict(new).tolist() == table["prediction"].to_pylist()
    assert table["prediction"][0].as_py() == pytest.approx(16, abs=2)


def test_a_model_of_another_store_is_refused(svmlight_job):
    _, arguments = svmlight_job
    assert blockdot("run", *arguments).returncode == 0
    assert blockdot("ingest", *arguments, "--set", "data.split.seed=5").returncode == 0
    done = blockdot("evaluate", *arguments, "--set", "data.split.seed=5")
    assert done.returncode == 3
    assert "was fitted to another store" in done.stderr


def test_strict_exits_with_4(svmlight_job):
    _, arguments = svmlight_job
    done = blockdot("run", *arguments, "--strict", "--set", "solver.max_iter=1")
    assert done.returncode == 4
    assert "did not converge" in done.stderr
    assert done.stderr.splitlines()[-1].count("max_iter or tol") == 1


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("1 3:x", ["train.svm:3: column", "'x' as a value", "a number"]),
        ("1 3:1 3:2", ["train.svm:3:", "second time"]),
        ("1 4:1 3:2", ["train.svm:3:", "ascending"]),
        ("1 0:1", ["train.svm:3:", "zero_based = true"]),
        ("1 -2:1", ["train.svm:3:", "negative"]),
        ("1 3:nan", ["train.svm:3:", "finite"]),
        ("1 99999999999999999999:1", ["train.svm:3:", "at most"]),
        ("a 3:1", ["train.svm:3:", "'a' as the label"]),
    ],
)
def test_bad_data_exits_with_3_and_names_the_line(tmp_path, line, words):
    path = tmp_path / "train.svm"
    path.write_text(f"1 1:1\n# comment\n{line}\n-1 2:1\n")
    out = tmp_path / "run"
    done = blockdot("run", ROOT / "jobs/svmlight.toml", *settings(data__train=path, job__output=out))
    assert done.returncode == 3
    for word in words:
        assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert not (out / "train.blocks").exists()


def test_one_class_only_is_refused(tmp_path):
    path = tmp_path / "train.svm"
    path.write_text("1 1:1\n" * 50)
    done = blockdot("run", ROOT / "jobs/svmlight.toml", *settings(data__train=path, job__output=tmp_path / "run"))
    assert done.returncode == 3
    assert "one class only" in done.stderr


def test_usage_and_spec_errors_exit_with_2(tmp_path, svmlight_job):
    _, arguments = svmlight_job
    assert blockdot("run").returncode == 2
    assert blockdot("fly").returncode == 2
    wrong = blockdot("run", *arguments, "--set", "model.alhpa=1")
    assert wrong.returncode == 2
    assert "'alpha'" in wrong.stderr
    gone = blockdot("run", *arguments, "--set", f"data.train={tmp_path / 'gone.svm'}")
    assert gone.returncode == 2
    assert "gone.svm" in gone.stderr


def test_inspect_and_verify(svmlight_job):
    out, arguments = svmlight_job
    assert blockdot("ingest", *arguments).returncode == 0
    store = out / "train.blocks"
    facts = json.loads(blockdot("inspect", store, "--json").stdout)
    assert facts["labels"] == [0.0, 1.0]
    assert facts["blocks"] > 1
    assert str(facts["digest"]) in blockdot("inspect", store).stdout
    assert "every block is whole" in blockdot("verify", store).stdout
    part = store / "blocks/part-00001.arrow"
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    bad = blockdot("verify", store)
    assert bad.returncode == 3
    assert "part-00001.arrow was altered" in bad.stderr
    fit = blockdot("fit", *arguments)
    assert fit.returncode == 3
    assert "part-00001.arrow was altered" in fit.stderr


def test_an_output_that_is_a_file_is_refused(svmlight_job, svmlight_file):
    _, arguments = svmlight_job
    done = blockdot("run", *arguments, "--set", f"job.output={svmlight_file}")
    assert done.returncode == 2
    assert "job.output" in done.stderr


def test_a_job_without_a_test_set_trains_and_says_what_it_leaves_out(svmlight_file, tmp_path):
    job, new = tmp_path / "job.toml", tmp_path / "new.svm"
    at = settings(job__output=tmp_path / "run")
    job.write_text(
        f'[job]\nname = "t"\n[data]\nformat = "svmlight"\ntrain = "{svmlight_file}"\n[model]\nkind = "logistic"\n'
    )
    done = blockdot("run", job, *at)
    assert done.returncode == 0, done.stderr
    assert "evaluate: left out" in done.stderr
    assert "predict: left out" in done.stderr
    alone = blockdot("evaluate", job, *at)
    assert alone.returncode == 2
    assert "there is no test set" in alone.stderr
    new.write_text("0 1:1\n0 2:1\n")
    scored = blockdot("run", job, *at, "--set", f"predict.input={new}")
    assert scored.returncode == 0, scored.stderr
    assert pq.read_table(tmp_path / "run/predictions").num_rows == 2
    assert "read 2 rows of 1 file; dropped none" in scored.stderr
    assert "predict: 2 rows scored" in scored.stderr
