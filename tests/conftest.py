"""Hypothesis: no deadlines, as the first call of a compiled function compiles it; the same examples in each CI run.

And the raw file that jobs are tried with.
"""

import os

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("blockdot", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("blockdot")


@pytest.fixture
def svmlight_file(tmp_path):
    """600 rows of 30 features, two classes."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=30)
    lines = []
    for _ in range(600):
        columns = np.sort(rng.choice(30, size=5, replace=False))
        values = rng.normal(size=5).round(3)
        label = 1 if values @ w[columns] + rng.normal() > 0 else -1
        lines.append(f"{label:+d} " + " ".join(f"{c + 1}:{v:g}" for c, v in zip(columns, values, strict=True)))
    path = tmp_path / "train.svm"
    path.write_text("\n".join(lines) + "\n")
    return path
