"""`compare`: per task one table and one chart over several runs."""

from collections.abc import Sequence

from ssm_hpn.checkpoints import is_run, no_run, runs_in
from ssm_hpn.cli.console import shown_path, table
from ssm_hpn.cli.parser import Parser, path_of
from ssm_hpn.compare import by_task, default_file, write
from ssm_hpn.errors import EXIT_DONE, ConfigError
from ssm_hpn.run_curves import AXES


def run(arguments: Sequence[str], prog: str) -> int:
    """Compare; returns the exit code."""
    parser = Parser(prog=prog, description="Per task one table and one chart over several runs.")
    parser.add_argument("runs", nargs="+", type=path_of, metavar="RUN", help="folder of a run, or a folder of runs")
    parser.add_argument(
        "--metric", metavar="NAME", help="held-out metric of the chart (default: the first in common that compares)"
    )
    parser.add_argument("--along", choices=list(AXES), default="step", help="what the chart runs along (default: step)")
    parser.add_argument(
        "--out", type=path_of, metavar="FILE", help="page with the charts (default: compare.html beside the first run)"
    )
    options = parser.parse_args(arguments)
    given = [one for path in options.runs for one in ([] if is_run(path) else runs_in(path)) or [path]]
    runs = list(dict.fromkeys(path for path in given if is_run(path) or not path.exists()))
    if not runs:
        raise ConfigError(no_run(options.runs[0], "a run"))
    for path in given:
        if path not in runs:
            print(f"left out   {shown_path(path)}, which is no run")
    comparisons = by_task(runs, metric=options.metric)
    out = options.out or default_file(runs)
    write(comparisons, out, options.along)
    if len(comparisons) > 1:
        print(f"{len(comparisons)} different tasks: numbers compare inside a task only\n")
    for comparison in comparisons:
        print(table(comparison.header(), comparison.rows(), title=f"{comparison.task}"))
        for sentence in [*([comparison.basis()] if comparison.common else []), *comparison.remarks()]:
            print(f"  {sentence}")
        for title, (header, rows) in (
            ("over seeds", comparison.seeds()),
            ("settings that differ", comparison.differing()),
        ):
            if rows:
                print(f"\n{table(header, rows, title=title)}")
        print()
    print(f"  page   {shown_path(out)}")
    return EXIT_DONE
