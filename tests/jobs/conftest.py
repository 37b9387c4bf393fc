"""A small raw file for the specs in jobs/, made by a generator with a fixed seed."""

import numpy as np
import pytest


@pytest.fixture
def orders_file(tmp_path):
    rng = np.random.default_rng(1)
    lines = ["customer,quantity,age,region,channel,amount"]
    for i in range(500):
        quantity, age = int(rng.integers(1, 9)), int(rng.integers(18, 80))
        region, channel = rng.choice(["north", "south", "east"]), rng.choice(["web", "shop", ""])
        amount = 3 * quantity + 10 * (region == "north") + rng.normal()
        lines.append(f"c{i // 3},{quantity},{age},{region},{channel},{amount:.3f}")
    lines.append("c999,1,20,north,web,")
    path = tmp_path / "orders.csv"
    path.write_text("\n".join(lines) + "\n")
    return path
