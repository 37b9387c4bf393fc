"""The names that people import."""

import subprocess
import sys

import blockdot as bd


def test_every_public_name_is_there():
    for name in bd.__all__:
        assert getattr(bd, name) is not None
    assert set(bd.__all__) <= set(dir(bd))


def test_the_function_ingest_keeps_its_name_when_the_folder_is_imported():
    import blockdot.ingest.build

    assert callable(bd.ingest)
    assert blockdot.ingest is bd.ingest


def test_importing_the_package_is_cheap():
    heavy = "'numpy', 'numba', 'scipy', 'sklearn', 'pyarrow', 'pydantic', 'dask', 'distributed'"
    code = f"import sys, blockdot; print([m for m in [{heavy}] if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
