"""What the numbers were measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("blockdot", "numpy", "scipy", "numba", "dask", "distributed", "scikit-learn")
PEERS = ("liblinear-official", "snapml", "vowpalwabbit", "glum", "skglm", "pyspark")


def facts() -> dict[str, str]:
    """The machine and the versions of the libraries that are installed."""
    found = {
        "CPU": _field("/proc/cpuinfo", "model name"),
        "cores used": str(len(os.sched_getaffinity(0))),
        "memory": f"{int(_field('/proc/meminfo', 'MemTotal').split()[0]) / 2**20:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
    }
    for name in (*PACKAGES, *PEERS):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "0"
