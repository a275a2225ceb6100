"""The start of a command, before anything of the package is imported."""

import sys


def enter(prog: str, command: str | None = None) -> int:
    """Run the command line; returns the exit code, also where Ctrl-C comes while it is imported."""
    try:
        from ssm_hpn.cli.main import main  # imported here, so that importing the package loads no command line

        return main(prog=prog, command=command)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted before anything began; nothing was written\n")
        return 130
