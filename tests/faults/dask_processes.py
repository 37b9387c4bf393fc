"""A Dask scheduler and workers as from the command line, in processes of their own, on 127.0.0.1."""

import gc
import signal
import socket
import subprocess
import sys
import time

from distributed import get_worker


class Processes:
    """`dask scheduler` on one port of 127.0.0.1, and `dask worker`s, as from the command line."""

    def __init__(self, folder):
        self.folder, self.workers, self.count = folder, [], 0
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.scheduler = None

    def start_scheduler(self):
        self.scheduler = self._started(
            "scheduler", "--host", "127.0.0.1", "--port", self.port, "--dashboard-address", "127.0.0.1:0"
        )

    def start_worker(self, *before):
        folder = self.folder / f"worker-{self.count}"
        folder.mkdir()
        where = ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0", "--local-directory", folder]
        alone = ["--nthreads", "1", "--no-nanny"]
        self.workers.append(self._started("worker", self.address, *where, *alone, before=before))
        return self.workers[-1]

    def _started(self, what, *arguments, before=()):
        self.count += 1
        log = self.folder / f"{self.count}-{what}.log"
        command = [*before, sys.executable, "-m", f"distributed.cli.dask_{what}", *arguments]
        with log.open("w") as output:
            return subprocess.Popen(list(map(str, command)), stdout=output, stderr=output)

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
