"""Hypothesis: no deadlines, as the first call of a compiled function compiles it; the same examples in each CI run."""

import os

from hypothesis import settings

settings.register_profile("blockdot", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("blockdot")
