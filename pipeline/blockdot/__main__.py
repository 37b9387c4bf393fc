"""``python -m blockdot``."""

from blockdot.cli import entry

if __name__ == "__main__":
    entry()
