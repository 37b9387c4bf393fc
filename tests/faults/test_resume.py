"""A driver that dies in the middle of a fit: --resume goes on to the bits of a run that nobody disturbed.

Real processes and real signals. What is killed runs the command line with passes that are slowed down, so that there is
a middle; what resumes is the command line as it is, on another number of workers.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from dask_processes import Processes

from blockdot.blocks.numerics import fingerprint
from blockdot.jobs.spec import load_job
from blockdot.jobs.stages import Run

pytestmark = pytest.mark.timeout(240)

ROOT = Path(__file__).parents[2]
SLOW = """
import sys
import time
from blockdot.objective.objective import Objective

real = Objective.value_and_grad

def slow(self, w):
    print("a slow pass", file=sys.stderr, flush=True)
    time.sleep(0.1)
    return real(self, w)

Objective.value_and_grad = slow
{more}
from blockdot.cli import entry

if __name__ == "__main__":
    entry()
"""
LOCAL = ("--cluster", ROOT / "cluster/local.toml")


def settings(values):
    return [part for key, value in values.items() for part in ("--set", f"{key}={value}")]


# What is fitted, and what must have been written before the kill: "state" for a first checkpoint, "part" for one of a
# fit in stages of which the first is done.
FITS = {
    "newton-cg": ({"solver.name": "newton-cg"}, "state"),
    "newton-cholesky": ({"solver.name": "newton-cholesky"}, "state"),
    "lbfgs": ({"solver.name": "lbfgs"}, "state"),
    "gradient-descent": ({"solver.name": "gradient-descent", "solver.tol": 1e-3}, "state"),
    "gradient-descent, fixed step": (
        {"solver.name": "gradient-descent", "solver.step": 0.5, "solver.tol": 1e-2, "model.alpha": 0.1},
        "state",
    ),
    "proximal-newton": ({"solver.name": "proximal-newton", "model.l1_ratio": 0.9, "model.alpha": 1e-3}, "part"),
    "owl-qn": ({"solver.name": "owl-qn", "model.l1_ratio": 0.9, "model.alpha": 1e-3}, "state"),
    "proximal-gradient": ({"solver.name": "proximal-gradient", "model.l1_ratio": 0.9, "model.alpha": 1e-3}, "state"),
    "smooth losses towards a kink": ({"model.kind": "svc", "model.hinge": "plain", "solver.tol": 1e-4}, "part"),
    "a path with cross-validation": ({"model.alphas": "[0.1, 0.03, 0.01, 0.003]", "model.l1_ratio": 0.5}, "part"),
}


@pytest.fixture(scope="module")
def ingested(tmp_path_factory):
    """A job, and a run directory in which its stores are made."""
    folder = tmp_path_factory.mktemp("resume")
    rng = np.random.default_rng(9)
    w = rng.normal(size=60) * 3.0 ** rng.uniform(-1, 1, 60)
    lines = []
    for _ in range(900):
        columns = np.sort(rng.choice(60, size=8, replace=False))
        values = (rng.normal(size=8) * 2.0).round(3)
        label = 1 if values @ w[columns] + 3.0 * rng.logistic() > 0 else -1
        lines.append(f"{label:+d} " + " ".join(f"{c + 1}:{v:g}" for c, v in zip(columns, values, strict=True)))
    (folder / "train.svm").write_text("\n".join(lines) + "\n")
    job = folder / "job.toml"
    job.write_text(
        f'[job]\nname = "resume"\n[data]\nformat = "svmlight"\ntrain = "{folder / "train.svm"}"\nblock_bytes = 6000\n'
        'label = { rule = "> 0" }\n[model]\nkind = "logistic"\n[solver]\ntol = 1e-7\ncheckpoint_every = 0\n'
    )
    run = Run(load_job(job, [f"job.output={folder / 'ingested'}"]))
    run.run(("ingest",))
    return job, folder / "ingested"


@pytest.fixture
def runs(ingested, tmp_path):
    """How to make a new run directory with the stores in it."""
    job, stores = ingested

    def new(name, values):
        output = shutil.copytree(stores, tmp_path / name)
        return output, [job, *settings({"job.output": output, **values})]

    return new


def start_slowly(folder, arguments, more="", **environment):
    """The command line with slow passes, in the background."""
    script = folder / "slow.py"
    script.write_text(SLOW.format(more=more))
    command = [sys.executable, script, "fit", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})


def wait_for(process, output, kind):
    """Wait for a checkpoint with a state, of a fit of which a part is done if ``kind`` is "part"."""
    end = time.monotonic() + 90
    checkpoints = output / "checkpoints"
    while not (list(checkpoints.glob("checkpoint-*.json")) and list(checkpoints.glob(f"{kind}-*"))):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.005)


def kill(process):
    """kill -9 the driver, and see its worker processes end by themselves."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate(timeout=30)
    _, alive = psutil.wait_procs(children, timeout=30)
    for child in alive:
        child.kill()


def model_of(output):
    return {
        name: hashlib.sha256((output / "model" / name).read_bytes()).hexdigest()
        for name in ("model.json", "weights.safetensors")
    }


def undisturbed(runs, values):
    """The model of a run in this process, on one thread."""
    output, arguments = runs("undisturbed", {**values, "cluster.workers": 1})
    Run(load_job(arguments[0], [text for text in map(str, arguments[1:]) if text != "--set"])).run(("fit",))
    assert list((output / "checkpoints").iterdir()) == []
    return model_of(output)


@pytest.fixture
def resumes_to(blockdot):
    """Resume a fit, and see that it has the model that is expected, and leaves no checkpoint."""

    def check(expected, output, arguments):
        done = blockdot("fit", *arguments, "--resume")
        assert done.returncode == 0, done.stderr
        assert f"goes on from the checkpoint in {output / 'checkpoints'}: " in done.stderr
        assert model_of(output) == expected
        assert list((output / "checkpoints").iterdir()) == []

    return check


@pytest.mark.parametrize(("values", "kind"), FITS.values(), ids=FITS)
def test_a_killed_driver_is_resumed_on_other_threads_to_the_same_bits(values, kind, runs, tmp_path, resumes_to):
    expected = undisturbed(runs, values)
    output, arguments = runs("killed", values)
    process = start_slowly(tmp_path, [*arguments, "--set", "cluster.workers=1"])
    wait_for(process, output, kind)
    kill(process)
    assert not (output / "model").exists()
    resumes_to(expected, output, [*arguments, "--set", "cluster.workers=2"])


@pytest.mark.parametrize(("first", "then"), [((), LOCAL), (LOCAL, ())], ids=["threads, workers", "workers, threads"])
def test_threads_and_worker_processes_resume_each_other(first, then, runs, tmp_path, resumes_to):
    values, kind = FITS["proximal-newton"]
    expected = undisturbed(runs, values)
    output, arguments = runs("killed", values)
    process = start_slowly(tmp_path, [*arguments, *first])
    wait_for(process, output, kind)
    kill(process)
    resumes_to(expected, output, [*arguments, *then])


@pytest.mark.parametrize(
    ("sign", "where"),
    [(signal.SIGTERM, ()), (signal.SIGINT, ()), (signal.SIGTERM, LOCAL)],
    ids=["SIGTERM", "SIGINT", "SIGTERM, workers"],
)
def test_an_interrupt_writes_a_checkpoint_and_exits_with_75_in_seconds(sign, where, runs, tmp_path, resumes_to):
    values = {**FITS["lbfgs"][0], "solver.checkpoint_every": 3600}
    expected = undisturbed(runs, values)
    output, arguments = runs("interrupted", values)
    process = start_slowly(tmp_path, [*arguments, *where])
    passes = 0
    while passes < 5:  # the first iterations are done
        line = process.stderr.readline()
        assert line
        passes += line == "a slow pass\n"
    process.send_signal(sign)
    began = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    assert time.monotonic() - began < 15.0
    assert f"the fit can go on from the checkpoint in {output / 'checkpoints'}: iteration" in errors
    assert "run the same command again with --resume" in errors
    assert len(list((output / "checkpoints").glob("checkpoint-*.json"))) == 1
    resumes_to(expected, output, arguments)


@pytest.mark.filterwarnings("ignore:.*unclosed:ResourceWarning")
def test_a_scheduler_that_is_lost_for_good_ends_the_run_and_threads_resume_it(runs, tmp_path, resumes_to):
    values, kind = FITS["lbfgs"]
    expected = undisturbed(runs, values)
    output, arguments = runs("lost", values)
    processes = Processes(tmp_path)
    try:
        processes.start_scheduler()
        processes.start_worker()
        cluster = ["--cluster", processes.address, "--set", "cluster.wait_seconds=12"]
        process = start_slowly(tmp_path, [*arguments, *cluster])
        wait_for(process, output, kind)
    finally:
        processes.end_all()
    _, errors = process.communicate(timeout=90)
    assert process.returncode == 1, errors
    assert f"the fit can go on from the checkpoint in {output / 'checkpoints'}: iteration" in errors
    assert f"the scheduler at {processes.address} is gone" in errors
    resumes_to(expected, output, arguments)


def test_without_resume_the_checkpoint_is_replaced_and_for_another_fit_it_is_refused(runs, tmp_path, blockdot):
    values, kind = FITS["lbfgs"]
    expected = undisturbed(runs, values)
    output, arguments = runs("killed", values)
    process = start_slowly(tmp_path, arguments)
    wait_for(process, output, kind)
    kill(process)
    other = blockdot("fit", *arguments, "--set", "model.alpha=1e-3", "--resume")
    assert other.returncode == 2
    assert "is of another fit: its recipe.alpha is 1e-06, and here it is 0.001" in other.stderr
    assert not (output / "model").exists()
    anew = blockdot("fit", *arguments)
    assert anew.returncode == 0, anew.stderr
    assert "are left out, and replaced by those of this run" in anew.stderr
    assert model_of(output) == expected


def test_resume_without_a_checkpoint_begins_the_fit(runs, blockdot):
    values = {"solver.checkpoint_every": 10}
    expected = undisturbed(runs, values)
    output, arguments = runs("new", values)
    done = blockdot("fit", *arguments, "--resume")
    assert done.returncode == 0, done.stderr
    assert model_of(output) == expected


def test_a_machine_that_computes_other_bits_is_warned_of_or_refused(runs, tmp_path, blockdot):
    instructions = {"X86_V4", "AVX512_SKX", "AVX512F"} & set(fingerprint()["vector instructions"].split())
    if not instructions:
        pytest.skip("this CPU, or this NumPy, has no AVX-512 that could be switched off")
    found = np.show_config(mode="dicts")["SIMD Extensions"]["found"]
    off = " ".join(name for name in found if "512" in name or name == "X86_V4")
    output, arguments = runs("elsewhere", FITS["lbfgs"][0])
    process = start_slowly(tmp_path, arguments, NPY_DISABLE_CPU_FEATURES=off, PYTHONWARNINGS="ignore")
    wait_for(process, output, "state")
    kill(process)
    strict = blockdot("fit", *arguments, "--resume", "--set", "job.reproducible=strict")
    assert strict.returncode == 1
    assert 'reproducible = "strict" needs the same' in strict.stderr
    done = blockdot("fit", *arguments, "--resume")
    assert done.returncode == 0, done.stderr
    assert "was written where other bits are computed" in done.stderr


def test_a_disk_that_fills_up_does_not_end_the_fit(runs, tmp_path):
    """No file may become larger than 6 kB: the model fits, and L-BFGS's state after some iterations does not."""
    values = FITS["lbfgs"][0]
    expected = undisturbed(runs, values)
    output, arguments = runs("full", values)
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))"
    process = start_slowly(tmp_path, arguments, limit)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert f"cannot write {output / 'checkpoints'}/state-" in errors
    assert "bytes): File too large" in errors
    assert "The fit goes on without this checkpoint" in errors
    assert model_of(output) == expected


def test_a_directory_that_cannot_be_written_to_is_an_error_at_the_start(runs, blockdot):
    output, arguments = runs("blocked", {})
    (output / "checkpoints").write_text("")
    done = blockdot("fit", *arguments)
    assert done.returncode == 3
    assert f"cannot write {output / 'checkpoints'}" in done.stderr
    assert not (output / "model").exists()
