"""The fingerprint of what computes: the same for one machine, another where other bits are computed."""

import json
import logging
import os
import subprocess
import sys

import numpy as np
import pytest

from blockdot.blocks.numerics import differences, fingerprint, require_agreement
from blockdot.blocks.threads import ThreadPool
from blockdot.errors import ExecutionError

PRINT = """
import json, sys, warnings
warnings.simplefilter("ignore")  # NumPy mentions that it was told to disable something
import numpy as np
from blockdot.blocks.numerics import fingerprint
x = np.linspace(-30.0, 30.0, 2001)
print(json.dumps([fingerprint(), np.exp(x).tobytes().hex()]))
"""


def in_another_process(**environment):
    run = subprocess.run(
        [sys.executable, "-c", PRINT], env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_two_processes_of_one_machine_agree_whatever_their_threads():
    assert in_another_process(OPENBLAS_NUM_THREADS="2")[0] == fingerprint()


def test_other_vector_instructions_show():
    instructions = {"X86_V4", "AVX512_SKX", "AVX512F"} & set(fingerprint()["vector instructions"].split())
    if not instructions:
        pytest.skip("this CPU, or this NumPy, has no AVX-512 that could be switched off")
    off = [*instructions, *np.show_config(mode="dicts")["SIMD Extensions"]["found"]]
    off = sorted(name for name in off if "512" in name or name == "X86_V4")
    other, exp = in_another_process(NPY_DISABLE_CPU_FEATURES=" ".join(off))
    assert exp != np.exp(np.linspace(-30.0, 30.0, 2001)).tobytes().hex()
    words = " ".join(differences(fingerprint(), other))
    assert "vector instructions: x86_64" in words
    assert "computed numbers: " in words


@pytest.mark.parametrize(
    ("variable", "value"), [("NUMBA_CPU_NAME", "generic"), ("OPENBLAS_CORETYPE", "Nehalem")], ids=["numba", "BLAS"]
)
def test_other_code_for_products_and_factors_shows(variable, value):
    if "x86_64" not in fingerprint()["vector instructions"]:
        pytest.skip("these are names of x86 CPUs")
    other, _ = in_another_process(**{variable: value})
    assert other["computed numbers"] != fingerprint()["computed numbers"]


class Workers(ThreadPool):
    """A pool with two workers of which one has another NumPy."""

    def require(self, question, judge):
        judge("tcp://a", question())
        judge("tcp://b", {**question(), "numpy": "1.0"})


def test_workers_that_disagree_are_warned_of_or_refused(caplog):
    require_agreement(ThreadPool(1), strict=True)
    with caplog.at_level(logging.WARNING, "blockdot"):
        require_agreement(Workers(1), strict=False)
    [text] = caplog.messages
    assert f"tcp://b computes other bits than this process (numpy: {np.__version__} here, 1.0 there)" in text
    with pytest.raises(ExecutionError, match=r"tcp://b .* needs workers that agree: "):
        require_agreement(Workers(1), strict=True)
