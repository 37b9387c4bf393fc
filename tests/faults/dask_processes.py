"""Dask schedulers and workers as from the command line, in processes of their own, on this machine."""

import gc
import json
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

from distributed import get_worker

ALONE = ("--nthreads", "1", "--no-nanny")


def begun(log, what, *arguments, before=()):
    """`dask WHAT`, as a process that writes to the file ``log``."""
    command = [*before, sys.executable, "-m", f"distributed.cli.dask_{what}", "--dashboard-address", "127.0.0.1:0"]
    with log.open("w") as output:
        return subprocess.Popen([*map(str, command), *map(str, arguments)], stdout=output, stderr=output)


@contextmanager
def ended(process):
    """Ask ``process`` to end when the block ends."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)


def scheduler(folder, *more, host="tls://127.0.0.1"):
    """`dask scheduler` on a free port, for a ``with`` block; ``address_of(folder)`` is where."""
    where = ["--host", host, "--port", "0", "--scheduler-file", folder / "scheduler.json"]
    return ended(begun(folder / "scheduler.log", "scheduler", *where, *more))


def worker(folder, name, address, *more, host="127.0.0.1"):
    """`dask worker`, for a ``with`` block."""
    where = ["--host", host, "--local-directory", folder, "--name", name]
    return ended(begun(folder / f"{name}.log", "worker", address, *where, *ALONE, *more))


def address_of(folder):
    """The address of the scheduler that was started with that folder."""
    return json.loads(waited_for(folder / "scheduler.json"))["address"]


def waited_for(path, words="", after=0):
    """The text of a file, as soon as ``words`` are in what follows the first ``after`` characters."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        text = path.read_text()[after:] if path.exists() else ""
        if words in text and (words or text.endswith("}")):
            return text
        time.sleep(0.1)
    raise AssertionError(f"{words!r} is not in {path}: {path.read_text() if path.exists() else 'no such file'}")


class Processes:
    """A scheduler on one port of 127.0.0.1, and workers, to be killed, frozen and started again."""

    def __init__(self, folder):
        self.folder, self.workers, self.count = folder, [], 0
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.scheduler = None

    def start_scheduler(self):
        self.scheduler = self._begun("scheduler", "--host", "127.0.0.1", "--port", self.port)

    def start_worker(self, *before):
        folder = self.folder / f"worker-{self.count}"
        folder.mkdir()
        where = ["--host", "127.0.0.1", "--local-directory", folder]
        self.workers.append(self._begun("worker", self.address, *where, *ALONE, before=before))
        return self.workers[-1]

    def _begun(self, what, *arguments, before=()):
        self.count += 1
        return begun(self.folder / f"{self.count}-{what}.log", what, *arguments, before=before)

    def end(self, process):
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait(30)

    def end_all(self):
        for process in [*self.workers, self.scheduler]:
            if process is not None:
                self.end(process)
        gc.collect()  # the sockets that a client of a dead scheduler leaves


def those_at_work(pool):
    """The addresses of the workers that ``pool`` gives work to."""

    def address(item):
        time.sleep(0.1)
        return get_worker().address

    return set(pool.map(address, range(12)))
