"""Start-up: seconds from a shell to the end of ``blockdot --help``, and of ``import blockdot``; and of Python alone."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from benchmarks.roofline import in_turns

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "python -c 'import blockdot'": ["-c", "import blockdot"],
    "blockdot --help": ["-m", "blockdot", "--help"],
}


def measure(repeats: int = 15) -> dict[str, Any]:
    """Median seconds of each command, taking turns."""

    def runs(arguments: list[str]) -> None:
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)

    seconds = in_turns([lambda given=given: runs(given) for given in COMMANDS.values()], repeats)
    result = dict(zip(COMMANDS, seconds, strict=True))
    print(f"start-up {result}", flush=True)
    return {"commands": result}
