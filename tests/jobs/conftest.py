"""Small raw files for the specs in jobs/, made by a generator with a fixed seed."""

import numpy as np
import pytest


@pytest.fixture
def svmlight_file(tmp_path):
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
