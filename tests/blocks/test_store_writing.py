"""A store appears whole or not at all, whatever happens to who writes it."""

import os
import re
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from small_stores import content, example, names_beside

import blockdot
from blockdot import atomic
from blockdot.blocks.dataset import Dataset
from blockdot.blocks.manifest import checksum
from blockdot.blocks.store import new_store, verify_store, write_block
from blockdot.errors import ExecutionError, StoreError


def test_an_existing_place_is_not_written_to(stored):
    before = content(stored.path)
    with pytest.raises(StoreError, match="exists already") as caught:
        example(seed=8).save(stored.path)
    assert str(stored.path) in str(caught.value)
    assert content(stored.path) == before
    occupied = stored.path.with_name("occupied")
    occupied.write_text("mine")
    with pytest.raises(StoreError, match="exists already"):
        example().save(occupied)
    assert occupied.read_text() == "mine"


def test_overwriting_is_asked_for_and_leaves_one_of_the_two(stored):
    before, other = content(stored.path), example(seed=8)

    def write(fail):
        with new_store(stored.path, overwrite=True) as writer:
            written = [write_block(other.source.block(i), writer.directory, f"b{i}") for i in range(other.n_blocks)]
            if fail:
                raise KeyboardInterrupt
            writer.commit(written)

    with pytest.raises(KeyboardInterrupt):
        write(fail=True)
    assert content(stored.path) == before
    write(fail=False)
    assert content(stored.path) != before
    assert verify_store(stored.path) == []
    assert names_beside(stored.path) == ["rows.blocks"]


def test_an_error_in_the_middle_leaves_nothing(tmp_path):
    path, data = tmp_path / "rows.blocks", example()

    def half(error):
        with new_store(path) as writer:
            write_block(data.source.block(0), writer.directory, "b0")
            raise error

    for error in (RuntimeError("in the middle"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            half(error)
        assert names_beside(path) == []
        with pytest.raises(StoreError, match="no such store"):
            Dataset.open(path)
    data.save(path)
    assert verify_store(path) == []


def test_a_writer_that_commits_nothing(tmp_path):
    with pytest.raises(StoreError, match="nothing was committed"), new_store(tmp_path / "rows.blocks"):
        pass
    assert names_beside(tmp_path / "rows.blocks") == []


def script(code, *arguments, **options):
    """A process of its own that runs ``code``."""
    environment = os.environ | {"PYTHONPATH": str(Path(blockdot.__file__).parent.parent)}
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        **options,
    )  # fmt: skip


HOLD = """
    import sys
    from pathlib import Path
    import numpy as np
    from blockdot.blocks.dataset import Dataset
    from blockdot.blocks.store import new_store, write_block

    data = Dataset.from_arrays(np.eye(30), np.arange(30) % 2, block_rows=10)
    with new_store(Path(sys.argv[1])) as writer:
        written = [write_block(data.source.block(i), writer.directory, f"b{i}") for i in range(2)]
        print("half", flush=True)
        sys.stdin.readline()
        written.append(write_block(data.source.block(2), writer.directory, "b2"))
        writer.commit(written, n_features=30)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that has written half of a store and waits."""
    process = script(HOLD, tmp_path / "rows.blocks")
    with process:
        assert process.stdout.readline() == "half\n", process.stderr.read()
        yield process
        process.kill()


def test_a_killed_writer_leaves_nothing_that_opens(holder, tmp_path):
    path = tmp_path / "rows.blocks"
    os.kill(holder.pid, signal.SIGKILL)
    assert holder.wait(30) == -signal.SIGKILL
    left = names_beside(path)
    assert "rows.blocks" not in left
    assert ".rows.blocks.partial" in left
    for name in (path, path.with_name(".rows.blocks.partial")):
        with pytest.raises(StoreError, match=re.escape(str(name))):
            Dataset.open(name)
    example().save(path)
    assert verify_store(path) == []
    assert names_beside(path) == ["rows.blocks"]


def test_a_second_writer_is_refused_while_the_first_goes_on(holder, tmp_path):
    path = tmp_path / "rows.blocks"
    with pytest.raises(ExecutionError, match="being written by another process") as caught:
        example().save(path)
    assert str(path) in str(caught.value)
    _, errors = holder.communicate("go on\n", timeout=60)
    assert (holder.returncode, errors) == (0, "")
    assert Dataset.open(path).n_rows == 30
    assert verify_store(path) == []


def test_a_store_that_another_finishes_just_before_the_lock_is_taken(tmp_path, monkeypatch):
    path, locked = tmp_path / "rows.blocks", atomic.locked

    def overtaken(*arguments):
        monkeypatch.setattr(atomic, "locked", locked)
        example(seed=8).save(path)
        return locked(*arguments)

    monkeypatch.setattr(atomic, "locked", overtaken)
    with pytest.raises(StoreError, match="exists already"):
        example().save(path)


FULL = """
    import resource, signal, sys
    from pathlib import Path
    import numpy as np
    from blockdot.blocks.dataset import Dataset
    from blockdot.errors import StoreError

    rng = np.random.default_rng(0)
    data = Dataset.from_arrays(rng.normal(size=(3000, 20)), rng.integers(0, 2, 3000), block_rows=1000)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    try:
        data.save(Path(sys.argv[1]))
    except StoreError as error:
        print(error)
        sys.exit(3)
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit on the size of files here")
@pytest.mark.parametrize("limit", [1000, 50_000])
def test_a_disk_that_takes_no_more(tmp_path, limit):
    path = tmp_path / "rows.blocks"
    with script(FULL, path, limit) as process:
        output, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (3, "")
    assert re.search(r"cannot write \S*rows\.blocks\S*/\S+\.arrow \([\d,]+ bytes\)", output)
    assert names_beside(path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_may_not_be_written_to(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(StoreError, match="may write to") as caught:
        example().save(closed / "rows.blocks")
    assert str(closed) in str(caught.value)


def test_a_place_below_a_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match=re.escape(str(tmp_path / "file" / "rows.blocks"))):
        example().save(tmp_path / "file" / "rows.blocks")


def test_a_block_for_a_directory_that_is_not_there(tmp_path):
    with pytest.raises(StoreError, match="file system in common") as caught:
        write_block(example().source.block(0), tmp_path / "nowhere", "b")
    assert str(tmp_path / "nowhere") in str(caught.value)


def test_files_are_replaced_whole(tmp_path):
    path = tmp_path / "file"
    atomic.write_file(path, b"old")
    atomic.write_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert names_beside(path) == ["file"]
    (tmp_path / "directory").mkdir()
    with pytest.raises(StoreError, match=re.escape(str(tmp_path / "directory"))):
        atomic.write_file(tmp_path / "directory", b"new")
    assert names_beside(path) == ["directory", "file"]


def test_checksums_are_xxh3():
    assert checksum(b"") == "99aa06d3014798d86001c324468d497f"
