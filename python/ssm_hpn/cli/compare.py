"""`compare`: one table and one chart over several runs."""

from collections.abc import Sequence
from pathlib import Path

from ssm_hpn.cli.console import shown_path, table
from ssm_hpn.cli.parser import Parser
from ssm_hpn.compare import AXES, Comparison
from ssm_hpn.errors import EXIT_DONE


def run(arguments: Sequence[str], prog: str) -> int:
    """Compare; returns the exit code."""
    parser = Parser(prog=prog, description="One table and one chart over several runs.")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--metric", metavar="NAME", help="held-out metric of the chart (default: the first in common)")
    parser.add_argument("--along", choices=list(AXES), default="step", help="what the chart runs along (default: step)")
    parser.add_argument("--out", type=Path, default=Path("compare.html"), metavar="FILE", help="page with the chart")
    options = parser.parse_args(arguments)
    comparison = Comparison(options.runs, metric=options.metric)
    print(table(comparison.header(), comparison.rows()))
    comparison.write(options.out, options.along)
    print(f"\n  chart  {shown_path(options.out)}")
    return EXIT_DONE
