"""The command line in processes of its own, job specs for it, and how many examples Hypothesis tries."""

import os
from pathlib import Path

import command_line
import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parents[2]

# `make fuzz` multiplies the examples of the tests that fuzz.
EFFORT = int(os.environ.get("BLOCKDOT_FUZZ", "1"))


@pytest.fixture(scope="session")
def examples():
    """Settings for a test that fuzzes: so many examples in the default run."""

    def of(count):
        return settings(
            max_examples=count * EFFORT,
            deadline=None,
            suppress_health_check=[
                HealthCheck.function_scoped_fixture,
                HealthCheck.too_slow,
                HealthCheck.data_too_large,
            ],
        )

    return of


@pytest.fixture
def blockdot():
    """Run the command line and wait for it."""
    return command_line.blockdot


@pytest.fixture
def job(svmlight_file):
    """The arguments of a job on that file that writes to the folder ``out``."""

    def arguments(out, **more):
        options = {"data.train": svmlight_file, "data.block_bytes": 4000, "job.output": out} | more
        return [ROOT / "jobs/svmlight.toml", *(part for k, v in options.items() for part in ("--set", f"{k}={v}"))]

    return arguments
