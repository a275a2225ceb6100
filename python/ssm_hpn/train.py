"""`python -m ssm_hpn.train`: the command `train`."""

import sys


def main() -> int:
    """Train; returns the exit code."""
    from ssm_hpn.cli.main import main as run  # imported here, so that importing the package loads no command line

    return run(prog="python -m ssm_hpn.train", command="train")


if __name__ == "__main__":
    sys.exit(main())
