"""`evaluate`: the metrics of a checkpoint on held-out data or on files of the user's, and a table per class."""

import json
from collections.abc import Sequence
from pathlib import Path

from ssm_hpn.cli.checkpoint import checkpoint_parser, contract_of, load_trainer
from ssm_hpn.cli.console import table, titled
from ssm_hpn.documents import Reader, batches, pieces
from ssm_hpn.errors import EXIT_DONE, ConfigError, DataError, problem
from ssm_hpn.evaluation import Evaluation
from ssm_hpn.metrics import Totals, metrics_of, with_bytes
from ssm_hpn.printable import printable
from ssm_hpn.targets import KINDS
from ssm_hpn.trainer import Trainer

MOST_CLASSES: int = 50
"""Of more classes the most frequent ones are shown."""


def run(arguments: Sequence[str], prog: str) -> int:
    """Evaluate; returns the exit code."""
    parser = checkpoint_parser(prog, "Metrics of a checkpoint on all of its held-out data, or on other data.")
    parser.add_argument("--data", type=Path, help="raw files, or a prepared folder (default: the run's held-out data)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    trainer = load_trainer(options)
    result = _held_out(trainer) if options.data is None else _on(trainer, options.checkpoint, options.data)
    if options.json:
        print(json.dumps({"step": result.step, "targets": result.totals.count, **result.values}))
        return EXIT_DONE
    metrics = with_bytes(metrics_of(trainer.config.model), result.totals.bytes_per_token)
    rows = [[titled(m), m.show(result.values[m.name])] for m in metrics]
    print(table([f"update {result.step}", "value"], [*rows, ["targets", str(result.totals.count)]]))
    per_class = class_rows(result.totals, trainer.class_names)
    if per_class:
        print()
        print(table(["class", "targets", "predicted", "right", "precision", "recall", "f1"], per_class))
    return EXIT_DONE


def _held_out(trainer: Trainer) -> Evaluation:
    if trainer.validation_folder is None:
        if trainer.feed.absent is not None:
            digest = (trainer.config.data.digest or "")[:12]
            expected = f"the held-out data of this run, with the digest {digest}"
            advice = "bring it back, or give --data PATH"
            raise DataError(problem("held-out data", expected, f"none in {trainer.feed.absent}", advice))
        raise ConfigError(problem("--data", "a path, as the run has no held-out data", "none", "give --data PATH"))
    return trainer.evaluate("all")


def _on(trainer: Trainer, checkpoint: Path, data: Path) -> Evaluation:
    reader = Reader(contract_of(trainer, checkpoint), trainer.config.model.target.kind)
    documents = reader.documents(data)
    if KINDS[reader.target].from_tokens:
        documents = pieces(documents, trainer.config.data.length or 0)
    groups = batches(documents, trainer.config.model, trainer.config.train.batch_size)
    result = trainer.evaluate(arrays for _, arrays in groups)
    if result.totals.count == 0:
        advice = "name the columns with the targets as in training"
        raise DataError(problem(data, "documents with targets", "none", advice))
    return result


def class_rows(totals: Totals, names: Sequence[str] | None) -> list[list[str]]:
    """Per class: its name, targets, predictions, how many are right, precision, recall and F1; a dash for no number."""
    count = totals.n_classes
    there = [index for index in range(count) if totals.expected[index] or totals.predicted[index]]
    if not there:
        return []
    shown = sorted(sorted(there, key=lambda index: -int(totals.expected[index]))[:MOST_CLASSES])
    rows = []
    for index in shown:
        targets, predicted, right = (int(sums[index]) for sums in (totals.expected, totals.predicted, totals.hits))
        name = names[index] if names is not None and index < len(names) else str(index)
        shares = [_share(right, predicted), _share(right, targets), _share(2 * right, targets + predicted)]
        rows.append(
            [
                printable(name).replace("\n", "\\n").replace("\t", "\\t"),
                str(targets),
                str(predicted),
                str(right),
                *shares,
            ]
        )
    if len(there) > len(shown):
        rows.append([f"and {len(there) - len(shown)} rarer ones", *[""] * 6])
    return rows


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.3f}" if whole else "–"
