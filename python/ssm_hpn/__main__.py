"""`python -m ssm_hpn COMMAND`."""

import sys


def main() -> int:
    """Run the command line; returns the exit code."""
    from ssm_hpn.cli.main import main as run  # the package itself stays light

    return run()


if __name__ == "__main__":
    sys.exit(main())
