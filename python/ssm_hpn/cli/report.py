"""`report`: make the page of a run again from its files."""

from collections.abc import Sequence

from ssm_hpn.cli.console import shown_path
from ssm_hpn.cli.parser import Parser, path_of
from ssm_hpn.errors import EXIT_DONE
from ssm_hpn.report import FILE, write_report


def run(arguments: Sequence[str], prog: str) -> int:
    """Write the report; returns the exit code."""
    parser = Parser(prog=prog, description=f"Write {FILE} into the folders of runs, from their other files alone.")
    parser.add_argument("runs", nargs="+", type=path_of, metavar="RUN", help="folder of a run")
    for folder in parser.parse_args(arguments).runs:
        print(shown_path(write_report(folder)))
    return EXIT_DONE
