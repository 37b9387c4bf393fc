"""The tables of faults, README.md in this folder and docs/reliability.md, name tests that are there.

The plan of how work is executed (../shared/design/distributed.md, where it is beside the checkout) has a table of
faults of its own; ``PLAN`` says which rows of README.md answer which row of it.
"""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DESIGN = ROOT / "../shared/design/distributed.md"

PLAN = {
    "`kill -9` or SIGTERM a worker in a pass; random kills for a whole fit (`distributed.chaos.KillWorker`)": [
        "a worker is killed in a pass; kills at random for a whole fit",
    ],
    "worker frozen (SIGSTOP)": ["a worker is frozen"],
    "a shard that always kills its worker": ["a shard that kills every worker"],
    "scheduler killed; driver SIGKILLed; driver SIGTERM": [
        "the scheduler is killed",
        "the driver is killed or interrupted",
    ],
    "workers join, leave, drop to none": ["workers join, leave, drop to none"],
    "block truncated, bit flipped, missing, from another store; manifest missing or half-written": [
        "a block is truncated",
        "a bit of a block is flipped",
        "a block is missing",
        "a block is of another store",
        "the manifest is missing, altered or half-written",
        "several of these",
    ],
    "crash while ingesting; disk full; output directory read-only or already in use by another run": [
        "a crash while ingesting",
        "the disk is full",
        "the output cannot be written to",
        "the output is in use by another run",
    ],
    "NaN/Inf in data; label outside its set; one class only; negative weights; all-zero weights; class absent from a "
    "block": [
        "NaN or infinity in the data",
        "a label outside its set",
        "one class only",
        "negative weights, weights that are all zero",
        "a class that is absent from a block",
    ],
    "index out of range, negative, duplicate, unsorted, int64; empty rows, empty blocks, all-zero columns; 1 row; "
    "d = 0; d ≫ n": [
        "indices out of range, negative, repeated, unsorted, beyond 32 bits",
        "empty rows and blocks, columns of zeros, one row, no features, far more features than rows",
    ],
    "memory limit too small": [
        "the memory limit is too small for the fit",
        "the memory limit is smaller than the data",
    ],
    "untrusted model or store file: wrong JSON, duplicate keys, offsets outside the file, huge headers, pickles": [
        "a store that may be anyone's",
        "a model that may be anyone's",
    ],
    "job spec with `../`, absolute or symlinked outputs, unknown keys, credentials in URLs": [
        "a job spec with `../`, an absolute or linked output, unknown keys",
        "credentials in URLs, keys, tokens",
    ],
    "scheduler on a non-loopback address without TLS": ["a scheduler or worker on another machine without TLS"],
}


def rows_of(path, heading=""):
    """The rows of the tables in a Markdown file, from the line ``heading`` on: the cells of each."""
    text = path.read_text("utf-8")
    assert heading in text
    lines = text[text.index(heading) :].splitlines()
    tables = [line for line in lines if line.startswith("| ") and not line.startswith("| ---")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in tables]


@cache
def defined_in(file):
    """The names of the tests of a file."""
    found = ast.parse(file.read_text("utf-8")).body
    return {node.name for node in found if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def named_by(cell):
    """The tests that a cell names: (file, or None where none was named before it, and name)."""
    named, file = [], None
    for part in re.findall(r"`([^`]+)`", cell):
        path, _, name = part.rpartition("::")
        if part.endswith(".py"):
            file = part
        elif name.startswith("test_"):
            file = path or file
            named.append((file, name))
    return named


FAULTS = {cells[0]: cells for cells in rows_of(HERE / "README.md")[1:]}
RELIABILITY = [cells for cells in rows_of(ROOT / "docs/reliability.md") if "test" in cells[-1] and cells[0] != "fault"]


@pytest.mark.parametrize("fault", FAULTS)
def test_the_table_of_faults_names_tests_that_are_there(fault):
    cells = FAULTS[fault]
    assert len(cells) == 3, "fault, what must happen, tests"
    named = named_by(cells[2])
    assert named
    for file, name in named:
        path = HERE.parent / file if "/" in file else HERE / file
        assert name in defined_in(path), f"{file} has no {name}"


@pytest.mark.parametrize("cells", RELIABILITY, ids=lambda cells: cells[0])
def test_every_test_that_the_page_on_reliability_names_is_there(cells):
    here = {name for file in HERE.glob("test_*.py") for name in defined_in(file)}
    references = re.findall(r"`([^`]+)`", cells[-1])
    assert references
    for reference in references:
        path, _, name = reference.rpartition("::")
        if reference.endswith(".py"):
            assert (HERE / reference).is_file()
        elif name.startswith("…"):
            assert [known for known in here if known.endswith(name[1:])]
        else:
            assert name in (defined_in(ROOT / path if "/" in path else HERE / path) if path else here), reference


@pytest.mark.parametrize("planned", PLAN)
def test_every_fault_of_the_plan_has_a_row(planned):
    assert set(PLAN[planned]) <= set(FAULTS)


def test_the_plan_is_the_plan():
    if not DESIGN.exists():
        pytest.skip("../shared/design is not beside the checkout")
    assert [cells[0] for cells in rows_of(DESIGN, "## Faults to survive")[1:]] == list(PLAN)
