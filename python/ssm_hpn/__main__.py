"""`python -m ssm_hpn COMMAND`."""

import sys

from ssm_hpn.entry import enter


def main() -> int:
    """Run the command line; returns the exit code."""
    return enter("python -m ssm_hpn" if sys.argv[0].endswith("__main__.py") else "ssm-hpn")


if __name__ == "__main__":
    sys.exit(main())
