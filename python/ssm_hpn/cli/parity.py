"""`parity`: the core against references in other frameworks, tensor by tensor."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from ssm_hpn.cli.parser import Parser, path_of
from ssm_hpn.errors import EXIT_DONE, ConfigError, problem
from ssm_hpn.storage import write_whole

EXIT_DRIFT = 1


def run(arguments: Sequence[str], prog: str) -> int:
    """Measure, write the reports; 1 if any tensor drifts over its bound."""
    parser = Parser(prog=prog, description="The core against references in JAX, and in PyTorch where it is installed.")
    parser.add_argument(
        "--cases",
        type=int,
        metavar="N",
        help="random configurations (default: every kind of input, target and head once)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the configurations (default: 0)")
    parser.add_argument("--out", type=path_of, default=Path(), metavar="FOLDER", help="for parity.json and parity.md")
    options = parser.parse_args(arguments)
    if find_spec("jax") is None:
        advice = "install it: pip install jax"
        raise ConfigError(problem("parity", "JAX, which computes the reference", "no such package", advice))
    from ssm_hpn.parity import compare

    rows: list[compare.Row] = []
    for row in compare.run(compare.CASES if options.cases is None else options.cases, seed=options.seed):
        if not rows or rows[-1].case != row.case:
            print(f"case {row.case}", flush=True)
        rows.append(row)
    options.out.mkdir(parents=True, exist_ok=True)
    write_whole(options.out / "parity.json", compare.to_json(rows, seed=options.seed))
    table = compare.to_markdown(rows)
    write_whole(options.out / "parity.md", table)
    print(f"\n{table}")
    over = [row for row in rows if not row.ok]
    for row in over:
        print(
            f"over its bound: {row.case}: {row.reference} {row.dtype} {row.tensor}: {row.drift:.1e} > {row.bound:.0e}"
        )
    print(f"{len(rows) - len(over)} passed, {len(over)} failed")
    return EXIT_DRIFT if over else EXIT_DONE
