"""python -m quality run | summary | choose | many | open."""

from __future__ import annotations

import importlib
import sys

COMMANDS = ("run", "summary", "choose", "many", "open")


def main() -> int:
    """Call the command that is named first."""
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        print(f"usage: python -m quality {' | '.join(COMMANDS)} [--help]", file=sys.stderr)
        return 2
    return int(importlib.import_module(f"quality.{sys.argv[1]}").main(sys.argv[2:]))


if __name__ == "__main__":
    raise SystemExit(main())
