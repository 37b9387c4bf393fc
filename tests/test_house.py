"""The laws of the house: who may import what, and how long a file may be."""

import ast
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

import blockdot

ROOT = Path(blockdot.__file__).parent
FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))

FLOORS = {
    "errors": 0,
    "atomic": 0,
    "vectors": 0,
    "buffers": 0,
    "vector_kernel": 0,
    "redaction": 0,
    "blocks": 1,
    "ingest": 2,
    "objective": 2,
    "linalg": 2,
    "solvers": 3,
    "models": 4,
    "jobs": 5,
    "cli": 6,
    "__main__": 6,
}
# What a file asks the package for that lies above it: a data set hands itself to the matrix that it is seen as, `ds.X`.
UPWARD = {"blocks/dataset.py": ("BlockMatrix",)}
GATE = "__init__"  # the package itself: names that are loaded on first use


def room(file):
    """The wing or the single file of the ground floor that ``file`` belongs to."""
    return PurePosixPath(file).parts[0].removesuffix(".py")


def type_checking_only(tree):
    """The nodes that run for a type checker alone."""
    nodes = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            nodes.update(id(inner) for part in node.body for inner in ast.walk(part))
    return nodes


def parse(file):
    return ast.parse((ROOT / file).read_text("utf-8"), filename=file)


def imports(file, tree=None):
    """The modules that a file imports, anywhere in it, as absolute dotted names; for ``from a import b``, a.b."""
    tree = tree or parse(file)
    skipped = type_checking_only(tree) if file == f"{GATE}.py" else set()
    package = ("blockdot", *PurePosixPath(file).parts[:-1])
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package[: len(package) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def imports_of(file, *names):
    """Those imports of ``file`` that are one of ``names`` or lie in it."""
    return [found for found in imports(file) for name in names if found == name or found.startswith(f"{name}.")]


def rooms_imported(file):
    for name in imports(file):
        parts = name.split(".")
        if parts[0] == "blockdot" and len(parts) > 1:
            yield name, parts[1]


def test_there_is_something_to_test():
    assert {"errors.py", "blocks/products.py", "solvers/minimize.py"} <= set(FILES)


@pytest.mark.parametrize("file", FILES)
def test_every_file_has_a_floor(file):
    assert room(file) in FLOORS or file == f"{GATE}.py"


@pytest.mark.parametrize("file", [file for file in FILES if file != f"{GATE}.py"])
def test_imports_go_down_or_stay_in_the_wing(file):
    here = room(file)
    wrong = []
    for name, there in rooms_imported(file):
        if there not in FLOORS:
            continue  # a name of the package itself, tested below
        if there != here and FLOORS[there] >= FLOORS[here] and not FLOORS[there] == FLOORS[here] in (0, 6):
            wrong.append(f"{name} (floor {FLOORS[there]}, from floor {FLOORS[here]})")
    assert wrong == []


@pytest.mark.parametrize("file", [file for file in FILES if file != f"{GATE}.py"])
def test_the_library_imports_its_parts_and_not_the_package(file):
    """``import blockdot`` loads names of every floor on first use: from within it would go up."""
    package_names = [name for name, there in rooms_imported(file) if there not in (*FLOORS, "__version__")]
    assert package_names == []
    if "blockdot" in imports(file):  # `import blockdot`: for its version, nothing else
        accesses = [node for node in ast.walk(parse(file)) if isinstance(node, ast.Attribute)]
        used = {node.attr for node in accesses if isinstance(node.value, ast.Name) and node.value.id == "blockdot"}
        assert used <= {"__version__", *UPWARD.get(file, ())}


def test_the_package_itself_imports_no_part_of_it():
    assert imports_of(f"{GATE}.py", "blockdot") == []


@pytest.mark.parametrize("file", [file for file in FILES if room(file) in ("ingest", "objective", "linalg")])
def test_floor_2_has_no_sideways_imports(file):
    there = {found for _, found in rooms_imported(file)}
    assert there & ({"ingest", "objective", "linalg"} - {room(file)}) == set()


@pytest.mark.parametrize("file", FILES)
def test_dask_stays_in_its_rooms(file):
    if file in ("blocks/dask.py", "blocks/cluster.py", "jobs/cluster.py") or room(file) == "ingest":
        return
    assert imports_of(file, "dask", "distributed") == []


@pytest.mark.parametrize("file", FILES)
def test_numba_stays_in_its_rooms(file):
    if file in ("blocks/products.py", "blocks/numbering.py") or PurePosixPath(file).match("*kernel*.py"):
        return
    assert imports_of(file, "numba") == []


@pytest.mark.parametrize("file", [file for file in FILES if room(file) == "solvers"])
def test_solvers_see_neither_rows_nor_sparse_matrices(file):
    assert imports_of(file, "scipy.sparse", "blockdot.blocks") == []


@pytest.mark.parametrize("file", FILES)
def test_nothing_is_ever_unpickled(file):
    """But what comes over a connection to a cluster, which may run anything anyway (blocks/parcel.py)."""
    if file == "blocks/parcel.py":
        text = (ROOT / file).read_text("utf-8")
        assert text.count("loads(") == text.count("cloudpickle.loads(self.head, ") == 1
        return
    assert imports_of(file, "pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal") == []


@pytest.mark.parametrize("file", FILES)
def test_files_are_short(file):
    assert len((ROOT / file).read_text("utf-8").splitlines()) <= 400


def test_no_file_without_a_subject():
    names = {"utils.py", "helpers.py", "common.py", "util.py", "helper.py", "misc.py"}
    assert [file for file in FILES if PurePosixPath(file).name in names] == []


def test_pipeline_is_a_source_root_and_no_package():
    assert not (ROOT.parent / "__init__.py").exists() or ROOT.parent.name != "pipeline"
    for file in FILES:
        assert imports_of(file, "pipeline") == []


@pytest.mark.parametrize("file", [file for file in FILES if file != "cli.py"])
def test_only_the_command_line_prints(file):
    calls = [node for node in ast.walk(parse(file)) if isinstance(node, ast.Call)]
    printing = [node.lineno for node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"]
    assert printing == []


def test_importing_the_package_loads_nothing_heavy():
    heavy = ("numba", "sklearn", "distributed", "dask", "scipy", "pyarrow", "pydantic")
    code = f"import sys, blockdot; print(sorted(set({heavy!r}) & set(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT.parent, capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout.strip() == "[]"


def test_every_public_name_is_there_and_listed():
    built = [name for name, home in blockdot._HOME.items() if (ROOT / f"{home.replace('.', '/')}.py").exists()]
    assert "LogisticRegression" in built
    for name in built:
        assert getattr(blockdot, name) is not None
        assert name in dir(blockdot)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = blockdot.nothing
