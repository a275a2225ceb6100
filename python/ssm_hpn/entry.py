"""The start of a command, before anything of the package is imported."""

import signal
import sys

from ssm_hpn.address_space import too_little
from ssm_hpn.beginning import KILLED, NOTHING, end, end_with


def enter(prog: str, command: str | None = None) -> int:
    """Run the command line; returns the exit code, also where Ctrl-C comes while it is imported."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, end)
        if (refused := too_little()) is not None:
            sys.stderr.write(f"error: {refused}\n")
            return 2
        from ssm_hpn.cli.main import main  # imported here, so that importing the package loads no command line

        code = main(prog=prog, command=command)
        end_with(code)
    except KeyboardInterrupt:
        sys.stderr.write(NOTHING)
        return KILLED
    except (ImportError, MemoryError) as error:
        text = " ".join(str(error).split())
        sys.stderr.write(f"error: the package cannot be loaded: {text}; install it again, or give it more memory\n")
        return 2
    return code
