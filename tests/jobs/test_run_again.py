"""Runs that were interrupted or killed, or whose outputs were altered, and what the same command does then."""

import os
import signal
import subprocess
import sys
import time

import pytest
from command_line import blockdot, bytes_of, settings

from blockdot.jobs.spec import load_job
from blockdot.jobs.stages import Run


def start_slow_fit(arguments):
    """A run that is in its fit and stays there: no tolerance is met, and very many steps are allowed."""
    slow = settings(solver__name="gradient-descent", solver__step=1e-9, solver__tol=0, solver__max_iter=10**8)
    command = [sys.executable, "-m", "blockdot", "run", *map(str, [*arguments, *slow])]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)
    for line in process.stderr:
        if line.startswith("fit …"):
            time.sleep(0.5)
            return process
    raise AssertionError("the run ended before its fit")


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_exits_with_75_and_goes_on(svmlight_job, sign):
    out, arguments = svmlight_job
    process = start_slow_fit(arguments)
    process.send_signal(sign)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 75
    assert "run the same command again" in errors
    assert not (out / "model").exists()
    again = blockdot("run", *arguments)
    assert again.returncode == 0
    assert "ingest: done already" in again.stderr


def test_a_killed_run_leaves_nothing_half_written_and_no_lock(svmlight_job):
    out, arguments = svmlight_job
    process = start_slow_fit(arguments)
    busy = blockdot("run", *arguments)
    assert busy.returncode == 1
    assert "in use by another run" in busy.stderr
    process.kill()
    process.communicate(timeout=30)
    assert not (out / "model").exists()
    again = blockdot("run", *arguments)
    assert again.returncode == 0, again.stderr


def test_prediction_parts_that_are_there_are_kept(svmlight_job, monkeypatch):
    from blockdot import atomic

    out, arguments = svmlight_job
    job = load_job(arguments[0], [text for text in map(str, arguments[1:]) if text != "--set"])
    Run(job).run(("ingest", "fit"))
    real, written = atomic.write_file, []

    def failing(path, data):
        if path.suffix == ".parquet":
            if len(written) == 2:
                raise KeyboardInterrupt
            written.append(path.name)
        real(path, data)

    monkeypatch.setattr(atomic, "write_file", failing)
    with pytest.raises(KeyboardInterrupt):
        Run(job).run(("predict",))
    assert not (out / "predictions").exists()
    written_before, written[:] = list(written), []
    monkeypatch.setattr(atomic, "write_file", lambda p, d: (written.append(p.name), real(p, d))[1])
    Run(job).run(("predict",))
    assert set(written_before).isdisjoint(name for name in written if name.endswith(".parquet"))
    rest = sorted(p.name for p in (out / "predictions").glob("*.parquet"))
    assert rest == sorted({*written_before, *(name for name in written if name.endswith(".parquet"))})


def test_a_stage_refuses_what_another_spec_made(svmlight_job):
    out, arguments = svmlight_job
    assert blockdot("run", *arguments).returncode == 0
    spec = (out / "job.toml").read_bytes()
    fitted = blockdot("evaluate", *arguments, "--set", "model.alpha=5")
    assert fitted.returncode == 3
    assert "was fitted by another spec" in fitted.stderr
    read = blockdot("fit", *arguments, "--set", "data.zero_based=true")
    assert read.returncode == 3
    assert "was made by another spec" in read.stderr
    assert (out / "job.toml").read_bytes() == spec


def test_a_lost_or_altered_block_is_made_again_by_the_next_run(svmlight_job):
    out, arguments = svmlight_job
    assert blockdot("run", *arguments).returncode == 0
    before = bytes_of(out)
    (out / "test.blocks/blocks/part-00001.arrow").unlink()
    assert blockdot("run", *arguments).returncode == 0
    part = out / "train.blocks/blocks/part-00002.arrow"
    content = bytearray(part.read_bytes())
    content[-200] ^= 255
    part.write_bytes(content)
    damaged = blockdot("run", *arguments, "--set", "model.alpha=1")
    assert damaged.returncode == 3
    assert "part-00002.arrow was altered" in damaged.stderr
    assert blockdot("run", *arguments).returncode == 0
    assert bytes_of(out) == before


def test_a_lost_or_altered_prediction_part_is_made_again(svmlight_job):
    out, arguments = svmlight_job
    assert blockdot("run", *arguments).returncode == 0
    before = bytes_of(out)
    (out / "predictions/part-00000.parquet").unlink()
    assert blockdot("run", *arguments).returncode == 0
    (out / "predictions/part-00001.parquet").write_bytes(b"garbage")
    assert blockdot("run", *arguments).returncode == 0
    assert bytes_of(out) == before


def test_a_failed_ingest_leaves_no_pair_of_stores_that_do_not_belong_together(svmlight_file, tmp_path):
    test = tmp_path / "test.svm"
    test.write_bytes(svmlight_file.read_bytes())
    job, at = tmp_path / "job.toml", settings(job__output=tmp_path / "run")
    job.write_text(
        f'[job]\nname = "t"\n[data]\nformat = "svmlight"\ntrain = "{svmlight_file}"\n'
        f'test = "{test}"\n[model]\nkind = "logistic"\n'
    )
    assert blockdot("run", job, *at).returncode == 0
    svmlight_file.write_text(svmlight_file.read_text() + "1 1:1\n")
    test.write_text(test.read_text() + "1 1:x\n")
    assert blockdot("run", job, *at).returncode == 3
    fit = blockdot("fit", job, *at)
    assert fit.returncode == 3
    assert "run the stage ingest first" in fit.stderr
    shared = blockdot("run", job, *at, "--set", f"data.test={svmlight_file}")
    assert shared.returncode == 2
    assert "is a training file, too" in shared.stderr
