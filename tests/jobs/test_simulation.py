"""Clusters that nobody has: the table of the docs, and what saturates."""

from pathlib import Path

import numpy as np
import pytest

from blockdot.jobs import simulation

ROOT = Path(__file__).parents[2]


def test_the_table_of_the_docs_is_what_the_simulation_prints():
    assert "\n".join(simulation.table()) in (ROOT / "docs/scaling.md").read_text()


def test_zipf_is_the_sum_that_it_stands_for():
    slots, draws = 5_000, 20_000
    p = 1.0 / np.arange(1, slots + 1)
    p /= p.sum()
    assert simulation.zipf(slots, draws) == pytest.approx(np.sum(1 - (1 - p) ** draws), rel=0.02)


def test_the_driver_saturates_and_a_tree_relieves_it():
    few, many = simulation.simulated(10, 10**10, 1 << 20), simulation.simulated(10_000, 10**10, 1 << 20)
    assert few.seconds()["compute"] > 100 * many.seconds()["compute"]
    assert many.pass_seconds > few.pass_seconds, "more workers are slower: their sums all go to the driver"
    designs = simulation.Designs(many)
    assert designs.sharded < designs.tree < designs.built
