"""`prepare`: raw files to a folder of shards, once, for any number of runs.

The options are the `data.*` settings of `train` that decide what the shards contain, under the same names.
"""

import argparse
import os
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ssm_hpn.cli.console import console, shown_path, size, table
from ssm_hpn.cli.parser import NULL, SHORT, Parser, add_list, list_settings, listed, path_of, switch_settings
from ssm_hpn.config import PrepareOptions, merge, parse, read_toml
from ssm_hpn.config.base import paths_of
from ssm_hpn.config.load import walk
from ssm_hpn.contract import Contract
from ssm_hpn.counts import counted
from ssm_hpn.errors import EXIT_DONE, ConfigError, problem
from ssm_hpn.targets import COLUMNS, column_with

if TYPE_CHECKING:
    from ssm_hpn.prepare import Prepared

MOST_WORKERS = 64
MOST_NAMED = 20
"""Most columns with missing numbers, and files left out, that are named."""


def run(arguments: Sequence[str], prog: str) -> int:
    """Prepare; returns the exit code."""
    given = _parser(prog).parse_args(arguments)
    options = data_options(given, given.paths, given.config)
    from ssm_hpn.prepare import prepare  # imports pyarrow and duckdb, which the options alone do not need
    from ssm_hpn.prepare.stdlib_corpus import check_default, prepare_default

    if given.workers is not None:
        os.environ.setdefault("RAYON_NUM_THREADS", str(given.workers))  # of the package tokenizers, in this process
    screen = console()
    with screen.status("preparing") as status:

        def progress(stage: str, documents: int, _: int) -> None:
            status.update(f"{stage}: {counted(documents, 'document')}")

        if options.train:
            prepared = prepare(options, given.out, progress=progress, workers=given.workers)
        else:
            check_default(options)
            prepared = prepare_default(given.out, progress=progress)
    screen.print(summary(prepared), markup=False)
    screen.print(f"\n  train on it:  python -m ssm_hpn.train --data {shown_path(prepared.folder)}", markup=False)
    return EXIT_DONE


def summary(prepared: "Prepared") -> str:
    """The result, as text."""
    unit = "tokens" if prepared.kind == "tokens" else "time steps"
    rows = [
        [name, f"{part.documents:,}", f"{part.tokens:,}", size(part.bytes)]
        for name, part in sorted(prepared.parts.items())
    ]
    lines = [table(["part", "documents", unit, "shards"], rows), ""]
    lines += [f"  {name:<12} {value}" for name, value in _facts(prepared)]
    return "\n".join(lines)


def _facts(prepared: "Prepared") -> Iterator[tuple[str, str]]:
    manifest = prepared.manifest
    for name, part in sorted(prepared.parts.items()):
        if part.lengths:
            shares = "  ".join(f"{float(share):.0%} {length:,}" for share, length in part.lengths.items())
            yield "lengths", f"of {name}, up to: {shares}"
    if prepared.kind == "tokens":
        yield "encoder", f"{manifest['encoder']['kind']}, {counted(prepared.vocab_size or 0, 'id')}"
    else:
        normalized = ", normalised" if manifest["normalisation"] else ""
        yield "encoder", f"{counted(prepared.n_features or 0, 'feature')} per time step{normalized}"
    yield "target", (prepared.target or "none").replace("_", " ")
    if prepared.n_classes:
        names = prepared.class_names
        shown = f": {', '.join(names[:8])}{', …' if len(names) > 8 else ''}" if names else ""
        yield "classes", f"{prepared.n_classes}{shown}"
    if prepared.n_values:
        column = column_with("number", manifest["columns"])
        yield "values", f"{prepared.n_values} per {'time step' if column and COLUMNS[column].per_token else 'document'}"
    contract = Contract.from_manifest(manifest, prepared.train)
    gaps = [f"{column.name} {column.missing}" for column in contract.columns if column.missing]
    if gaps:
        yield (
            "missing",
            ", ".join(gaps[:MOST_NAMED]) + (f" and {len(gaps) - MOST_NAMED} more" if gaps[MOST_NAMED:] else ""),
        )
    for name, why in contract.left_out[:MOST_NAMED]:
        yield "left out", f"{name}: {why}"
    if contract.left_out[MOST_NAMED:]:
        yield (
            "left out",
            f"and {len(contract.left_out) - MOST_NAMED} more: ssm-hpn inspect {shown_path(prepared.folder)}",
        )
    for note in contract.notes:
        yield "note", note
    files = manifest["source"]["files"]
    yield "format", f"{manifest['source']['format']}, {counted(files, 'file')}"
    yield "digest", prepared.data_digest
    yield "folder", shown_path(prepared.folder)


def add_data_options(parser: Parser, only: Collection[str] = ()) -> None:
    """The `data.*` settings that decide what the shards contain; with `only`, these alone."""
    lists, switches = list_settings(), switch_settings()
    for name, section, field in walk(PrepareOptions, ("data",)):
        if only and name.removeprefix("data.") not in only:
            continue
        info = section.model_fields[field]
        text = (info.description or "").replace("%", "%%")
        if name in lists:
            short = [one for one, setting in SHORT.items() if setting == f"--{name}"]
            add_list(parser, f"--{name}", *short, read=lists[name], help=text, default=argparse.SUPPRESS)
        else:
            alone: dict[str, Any] = {"nargs": "?", "const": "true"} if name in switches else {}
            parser.add_argument(f"--{name}", metavar="VALUE", help=text, default=argparse.SUPPRESS, **alone)


def _parser(prog: str) -> Parser:
    parser = Parser(
        prog=prog,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=38, width=118),
        description="Turn text, token ids, tables or arrays into shards for training. Without PATH: the source text of "
        "the standard library.",
        usage=f"{prog} [PATH ... | --data PATH] --out FOLDER [--data.OPTION VALUE ...]",
    )
    parser.add_argument("paths", nargs="*", metavar="PATH", help="files, folders or patterns")
    parser.add_argument("--out", type=path_of, required=True, metavar="FOLDER", help="new folder for the shards")
    parser.add_argument("--config", metavar="FILE", help="TOML file with settings; options given here count more")
    words = "threads that parse a table or encode texts (default: 2, and all cores); the shards do not depend on it"
    parser.add_argument("--workers", type=_workers, metavar="N", help=words)
    add_data_options(parser)
    return parser


def _workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_WORKERS:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to {MOST_WORKERS}, found {text!r}")
    return int(text)


def data_options(given: argparse.Namespace, paths: Sequence[str], config: str | None = None) -> PrepareOptions:
    """The settings of the file `config` with those of the command line over them, checked."""
    settings: dict[str, Any] = {}
    for name, value in vars(given).items():
        path = name.split(".")
        if path[0] == "data" and path[1:]:
            section = settings
            for key in path[:-1]:
                section = section.setdefault(key, {})
            section[path[-1]] = None if value == NULL else value
    data = settings.setdefault("data", {})
    if paths and data.get("train"):
        raise ConfigError(problem("--data", "paths in it or in front of the options", "both", "name all in one place"))
    if paths:
        data["train"] = [path for text in paths for path in listed("PATH", text, paths_of)]
    if config:
        from_file = read_toml(config)
        parse(from_file, source=config)
        settings = merge(from_file, settings)
    return parse(settings).data.prepare_options()
