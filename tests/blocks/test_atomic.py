"""Files and directories appear whole or not at all, also where several write the same one, or one is killed."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from blockdot import atomic
from blockdot.errors import StoreError

SIZE = 200_000

HANG = """
import os, sys, time
from pathlib import Path
from blockdot import atomic

def hang(descriptor):
    print("written", flush=True)
    time.sleep(3600)

os.fsync = hang
atomic.write_file(Path(sys.argv[1]), b"half")
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def stalled(monkeypatch):
    """The first that flushes a file stops there until it is told to go on: it has written all, and renamed nothing."""
    fsync, stands, goes_on, first = os.fsync, threading.Event(), threading.Event(), threading.Lock()

    def wait(descriptor):
        if first.acquire(blocking=False):
            stands.set()
            assert goes_on.wait(60)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", wait)
    with ThreadPoolExecutor(1) as executor:

        def begin(path, data):
            future = executor.submit(atomic.write_file, path, data)
            assert stands.wait(60)
            return future

        yield begin, goes_on
        goes_on.set()


def test_two_that_write_the_same_file_at_the_same_time(tmp_path, stalled):
    """As a call that is made again while its first copy is still alive."""
    begin, goes_on = stalled
    path = tmp_path / "part"
    slow = begin(path, b"slow" * SIZE)
    assert len(names(tmp_path)) == 1
    assert not path.exists()
    atomic.write_file(path, b"fast" * SIZE)
    assert path.read_bytes() == b"fast" * SIZE
    goes_on.set()
    slow.result(60)
    assert path.read_bytes() == b"slow" * SIZE
    assert names(tmp_path) == ["part"]


def test_many_writers_and_a_reader_that_never_sees_a_mixture(tmp_path):
    path = tmp_path / "part"
    contents = [bytes([i]) * SIZE for i in range(8)]
    path.write_bytes(contents[0])
    with ThreadPoolExecutor(8) as executor:
        written = [executor.submit(atomic.write_file, path, data) for data in contents * 4]
        while not all(future.done() for future in written):
            assert path.read_bytes() in contents
    for future in written:
        future.result()
    assert names(tmp_path) == ["part"]


def test_a_directory_is_finished_while_a_call_that_was_made_again_still_writes_into_it(tmp_path, stalled):
    begin, goes_on = stalled
    with atomic.new_directory(tmp_path / "store") as aside:
        slow = begin(aside / "part", b"same")
        atomic.write_file(aside / "part", b"same")
    assert names(tmp_path / "store") == ["part"]
    goes_on.set()
    with pytest.raises(StoreError, match="cannot write"):
        slow.result(60)
    assert names(tmp_path) == ["store"]
    assert names(tmp_path / "store") == ["part"]
    assert (tmp_path / "store/part").read_bytes() == b"same"


def test_what_a_killed_writer_left_is_swept_up(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text("whole")
    process = subprocess.Popen([sys.executable, "-c", HANG, path], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    left = [name for name in names(tmp_path) if name != path.name]
    assert len(left) == 1
    assert left[0].startswith(".metrics.json.")
    assert left[0].endswith(".partial")
    others = {".metrics.json.partial", ".a.0123456789abcdef", "a.0123456789abcdef.partial", "0123456789abcdef.partial"}
    for name in others:
        (tmp_path / name).write_text("somebody's")
    atomic.sweep(tmp_path)
    assert set(names(tmp_path)) == others | {"metrics.json"}
    assert path.read_text() == "whole"


def test_an_interrupt_leaves_no_file_aside(tmp_path, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic.write_file(tmp_path / "part", b"x")
    assert names(tmp_path) == []


def test_a_directory_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"cannot write \S+/none/part \(1 bytes\): No such file"):
        atomic.write_file(tmp_path / "none/part", b"x")
    with pytest.raises(StoreError, match=r"cannot write \S+/none: No such file"):
        atomic.sweep(tmp_path / "none")


@pytest.mark.parametrize("directory", ["temporary", "new"])
def test_a_directory_that_is_given_up_goes_although_a_call_still_writes_into_it(directory, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    over = threading.Event()

    def write(folder):
        i = 0
        while not over.is_set():
            with suppress(OSError):
                (folder / str(i)).mkdir()
                (folder / str(i) / "part").write_bytes(b"x")
            i += 1
        return i

    def given_up():
        made = atomic.temporary_directory() if directory == "temporary" else atomic.new_directory(tmp_path / "store")
        with made as folder:
            writing = executor.submit(write, folder)
            while len(names(folder)) < 100:
                pass
            left.append(writing)
            raise StoreError("the disk is full")

    left = []
    with ThreadPoolExecutor(1) as executor:
        for _ in range(5):
            try:
                with pytest.raises(StoreError, match="the disk is full"):
                    given_up()
                assert names(tmp_path) == []
            finally:
                over.set()
            assert left.pop().result(60) > 100
            over.clear()
    assert names(tmp_path) == []
