"""`evaluate`: the metrics of a checkpoint on held-out data or on files of the user's."""

import json
from collections.abc import Sequence
from pathlib import Path

from ssm_hpn.cli.checkpoint import checkpoint_parser, load_trainer
from ssm_hpn.cli.console import table
from ssm_hpn.cli.documents import Reader, batches, pieces
from ssm_hpn.errors import EXIT_DONE, ConfigError, DataError, problem
from ssm_hpn.metrics import metrics_of


def run(arguments: Sequence[str], prog: str) -> int:
    """Evaluate; returns the exit code."""
    parser = checkpoint_parser(prog, "Metrics of a checkpoint on all of its held-out data, or on other data.")
    parser.add_argument("--data", type=Path, help="raw files, or a prepared folder (default: the run's held-out data)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    trainer = load_trainer(options)
    if options.data is None:
        if trainer.validation_folder is None:
            advice = "give --data PATH"
            raise ConfigError(problem("--data", "a path, as the run has no held-out data", "none", advice))
        result = trainer.evaluate(trainer.held_out("all"))
    else:
        reader = Reader(trainer)
        documents = reader.documents(options.data)
        if reader.target == "next_token":
            documents = pieces(documents, trainer.config.data.length or 0)
        groups = batches(documents, reader.target, trainer.config.train.batch_size)
        result = trainer.evaluate(arrays for _, arrays in groups)
        if result.totals.count == 0:
            advice = "name the columns with the targets as in training"
            raise DataError(problem(options.data, "documents with targets", "none", advice))
    if options.json:
        print(json.dumps({"step": result.step, "targets": result.totals.count, **result.values}))
        return EXIT_DONE
    rows = [[f"{m.name} {m.unit}".strip(), m.show(result.values[m.name])] for m in metrics_of(trainer.config.model)]
    print(table([f"update {result.step}", "value"], [*rows, ["targets", str(result.totals.count)]]))
    return EXIT_DONE
