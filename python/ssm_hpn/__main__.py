"""`python -m ssm_hpn COMMAND`."""

import sys


def main() -> int:
    """Run the command line; returns the exit code."""
    from ssm_hpn.cli.main import main as run  # imported here, so that importing the package loads no command line

    return run(prog="python -m ssm_hpn" if sys.argv[0].endswith("__main__.py") else "ssm-hpn")


if __name__ == "__main__":
    sys.exit(main())
