"""``python -m benchmarks.simulate [SLOTS]`` prints the table of docs/scaling.md: computed, on any machine the same."""

import sys

from blockdot.jobs.simulation import SLOTS, table

if __name__ == "__main__":
    print("\n".join(table(int(sys.argv[1]) if len(sys.argv) > 1 else SLOTS)))
