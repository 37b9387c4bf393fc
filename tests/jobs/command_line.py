"""The command line in a process of its own, its settings, and what a run must make the same everywhere."""

import hashlib
import subprocess
import sys


def blockdot(*arguments, **options):
    """Run the command line and wait for it."""
    command = [sys.executable, "-m", "blockdot", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL, **options
    )


def settings(**values):
    """`--set` for each; two underscores stand for a point."""
    return [part for key, value in values.items() for part in ("--set", f"{key.replace('__', '.')}={value}")]


def bytes_of(run):
    """The checksum of every file that a run must make the same everywhere."""
    names = ["model/model.json", "model/weights.safetensors", "metrics.json", "train.blocks/manifest.json"]
    names += sorted(str(path.relative_to(run)) for path in (run / "predictions").iterdir())
    return {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in names}
