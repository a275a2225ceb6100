"""`python -m ssm_hpn.train`: the command `train`."""

import sys

from ssm_hpn.entry import enter


def main() -> int:
    """Train; returns the exit code."""
    return enter("python -m ssm_hpn.train", "train")


if __name__ == "__main__":
    sys.exit(main())
