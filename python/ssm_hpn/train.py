"""`python -m ssm_hpn.train`: the command `train`."""

import sys


def main() -> int:
    """Train; returns the exit code."""
    from ssm_hpn.cli.main import main as run  # the package itself stays light

    return run(["train", *sys.argv[1:]], prog="python -m ssm_hpn")


if __name__ == "__main__":
    sys.exit(main())
