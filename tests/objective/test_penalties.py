"""Penalties by their definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockdot.blocks.layout import Layout
from blockdot.errors import SpecError
from blockdot.objective.penalties import L2


@st.composite
def penalised(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    layout = Layout(draw(st.integers(1, 3)), draw(st.integers(0, 2)))
    w = rng.normal(size=layout.size(draw(st.integers(0, 6))))
    return L2(draw(st.sampled_from([0.0, 1e-3, 0.7, 20.0]))), layout, w, rng


@settings(deadline=None)
@given(penalised())
def test_l2_by_definition(case):
    penalty, layout, w, rng = case
    features = len(w) - layout.tail
    mask = np.arange(len(w)) < features
    assert penalty.value(w, layout) == pytest.approx(penalty.alpha / 2 * np.sum(w[mask] ** 2), rel=1e-14)
    assert np.array_equal(penalty.grad(w, layout), penalty.alpha * w * mask)
    v = rng.normal(size=len(w))
    assert np.array_equal(penalty.hess_dot(v, layout), penalty.alpha * v * mask)


@pytest.mark.parametrize("alpha", [-1e-9, np.nan, np.inf, -np.inf])
def test_a_strength_that_makes_no_sense(alpha):
    with pytest.raises(SpecError, match="needed a finite number, at least 0"):
        L2(alpha)
