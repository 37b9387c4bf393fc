"""Every notebook runs, and what is stored of it is clean.

A notebook is executed in a temporary copy, by the interpreter that runs the tests: a kernelspec for it is made for
the occasion, so nothing depends on the kernels that are installed. The kernel listens on loopback only.
"""

import json
import os
import re
import sys
from copy import deepcopy
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from traitlets.config import Config

import blockdot

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
KERNEL = "blockdot-tests"

ABSOLUTE_PATH = re.compile(
    r"""(?<![\w:/.<)\]}])/(?:
            (?:home|root|tmp|work|usr|var|opt|mnt|srv|data|private|Users|Volumes)\b   # one level of a known root
            | [A-Za-z_.][\w.-]*/[\w.-]+                                               # or two of any
        )
        | \b[A-Za-z]:\\{1,2}(?:Users|Windows|Program)
        | \bfile://""",
    re.VERBOSE,
)


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """The name of a kernel that is this interpreter; Jupyter's and IPython's settings of this machine are not read."""
    jupyter = tmp_path / "jupyter"
    spec = jupyter / "kernels" / KERNEL
    spec.mkdir(parents=True)
    python_path = [str(Path(blockdot.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    content = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": KERNEL,
        "language": "python",
        "env": {"PYTHONPATH": os.pathsep.join(python_path), "MPLBACKEND": "module://matplotlib_inline.backend_inline"},
    }
    (spec / "kernel.json").write_text(json.dumps(content), "utf-8")
    monkeypatch.setenv("JUPYTER_PATH", str(jupyter))
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    return KERNEL


def execute(notebook, kernel, directory):
    """Run every cell in ``directory``; CellExecutionError for the first that fails."""
    client = NotebookClient(
        notebook,
        kernel_name=kernel,
        timeout=240,
        resources={"metadata": {"path": str(directory)}},
        config=Config(KernelManager={"ip": "127.0.0.1"}),
    )
    return client.execute()


def outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def images(notebook):
    return [output for output in outputs(notebook) if "image/png" in output.get("data", {})]


def warnings_in(notebook):
    """What cells wrote to stderr that names a warning (matplotlib tells there that it looks for fonts)."""
    written = [output.text for output in outputs(notebook) if output.get("name") == "stderr"]
    return [text for text in written if "Warning" in text]


def strings_in(node):
    """Every string of a notebook, keys too, except the bytes of images."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, list):
        for child in node:
            yield from strings_in(child)
    elif isinstance(node, dict):
        for key, child in node.items():
            yield key
            if not key.startswith("image/"):
                yield from strings_in(child)


def paths_in(notebook):
    return [found.group() for text in strings_in(notebook) for found in ABSOLUTE_PATH.finditer(text)]


def test_the_notebooks_are_there():
    assert [path.name for path in NOTEBOOKS] == ["01-inner-products.ipynb", "02-networks-on-sparse-data.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_its_plots(path, kernel, tmp_path):
    stored = nbformat.read(path, as_version=4)
    directory = tmp_path / "run"
    directory.mkdir()
    copy = deepcopy(stored)
    for cell in copy.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    done = execute(copy, kernel, directory)
    assert len(images(done)) >= 3
    assert len(images(done)) == len(images(stored))
    assert warnings_in(done) == []
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_stored_is_one_clean_run_from_top_to_bottom(path):
    stored = nbformat.read(path, as_version=4)
    nbformat.validate(stored)
    code = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert {output.output_type for output in outputs(stored)} <= {"stream", "display_data", "execute_result"}
    assert [output.text for output in outputs(stored) if output.get("name") == "stderr"] == []
    assert len(images(stored)) >= 3
    assert stored.metadata.kernelspec.name == "python3"
    assert all(dict(cell.metadata) == {} for cell in stored.cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_stored_holds_no_absolute_paths(path):
    assert paths_in(json.loads(path.read_text("utf-8"))) == []


def test_a_claim_that_is_wrong_fails(kernel, tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import blockdot\nassert 1 + 1 == 3")])
    with pytest.raises(CellExecutionError, match="AssertionError"):
        execute(notebook, kernel, tmp_path)


def test_the_kernel_is_this_interpreter(kernel, tmp_path):
    code = "import sys, blockdot; print(sys.executable, blockdot.__file__)\nimport warnings; warnings.warn('look')"
    done = execute(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)]), kernel, tmp_path)
    (printed,) = [output.text for output in outputs(done) if output.get("name") == "stdout"]
    assert printed.split() == [sys.executable, blockdot.__file__]
    assert len(warnings_in(done)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "/root",
        'File "/home/me/a.py", line 3',
        "saved to /data/set/x.npz",
        "(/tmp/x)",
        r"C:\Users\me",
        "file:///etc/hosts",
        "in /lib/python3.12",
    ],
)
def test_an_absolute_path_is_found(text):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    notebook.cells[0].outputs = [nbformat.v4.new_output("stream", name="stdout", text=f"x {text} y")]
    assert paths_in(notebook) != []


@pytest.mark.parametrize(
    "text", ["t = 1 / L", "(1 - y)/(1 - p) - y/p", "https://example.org/a/b", "</td></tr>", "a/b/c", "docs/design.md"]
)
def test_what_is_no_path_is_left_alone(text):
    assert paths_in([text]) == []
