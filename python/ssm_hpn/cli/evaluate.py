"""`evaluate`: the metrics of a checkpoint on held-out data or on files of the user's, and a table per class."""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ssm_hpn.cli.checkpoint import (
    add_data,
    add_file_options,
    checkpoint_parser,
    contract_of,
    file_options,
    load_model,
    print_notes,
)
from ssm_hpn.cli.console import table
from ssm_hpn.cli.tables import CLASS_HEADER, class_rows, metric_table
from ssm_hpn.contract import Contract
from ssm_hpn.dataset import is_prepared, read_manifest
from ssm_hpn.documents import Document, Reader, Tally, batches, in_channels, pieces
from ssm_hpn.errors import EXIT_DONE, ConfigError, DataError, problem
from ssm_hpn.evaluation import Evaluation
from ssm_hpn.filter_data import of_documents
from ssm_hpn.filter_learner import FilterLearner
from ssm_hpn.targets import KINDS
from ssm_hpn.trainer import Trainer


def run(arguments: Sequence[str], prog: str) -> int:
    """Evaluate; returns the exit code."""
    parser = checkpoint_parser(prog, "Metrics of a checkpoint on all of its held-out data, or on other data.")
    add_data(parser, "raw files, or a prepared folder (default: the run's held-out data)")
    add_file_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    given = file_options(options)
    trainer = load_model(options)
    without = None
    if options.data is None:
        result = _held_out(trainer)
    else:
        result, without = _on(trainer, options.checkpoint, options.data, given)
    names = [] if trainer.contract is None else trainer.contract.value_names
    facts = result.facts(names)
    if without is not None:
        facts["documents_without_target"] = without
    if options.json:
        metrics = facts.pop("metrics")
        print(json.dumps({"step": facts.pop("step"), "targets": facts.pop("targets"), **metrics, **facts}))
        return EXIT_DONE
    print(metric_table(facts, f"update {result.step}" if isinstance(trainer, Trainer) else "features", targets=True))
    per_class = class_rows(result.totals, trainer.class_names)
    if per_class:
        print()
        print(table(CLASS_HEADER, per_class))
    return EXIT_DONE


def _held_out(trainer: Trainer | FilterLearner) -> Evaluation:
    if trainer.validation_folder is None:
        if trainer.feed.absent is not None:
            digest = (trainer.config.data.digest or "")[:12]
            expected = f"the held-out data of this run, with the digest {digest}"
            advice = f"{trainer.feed.bring_back}, or give --data PATH"
            raise DataError(problem("held-out data", expected, f"none in {trainer.feed.absent}", advice))
        raise ConfigError(problem("--data", "a path, as the run has no held-out data", "none", "give --data PATH"))
    return trainer.evaluate("all") if isinstance(trainer, Trainer) else trainer.evaluate()


def _on(
    trainer: Trainer | FilterLearner, checkpoint: Path, data: Sequence[str], given: dict[str, Any]
) -> tuple[Evaluation, int | None]:
    """The evaluation, and how many documents have no target, where targets are columns of the data."""
    reader = Reader(contract_of(trainer, checkpoint), trainer.config.model.target.kind, given)
    tally = Tally(reader.documents(data))
    result = _evaluated(trainer, reader, tally)
    print_notes(reader)
    for note in reader.note_trained(trainer.train_folder):
        print(f"note: {note}", file=sys.stderr)
    if result.totals.count == 0:
        advice = "give files with the columns of the training data, which `inspect RUN` lists"
        if _of_nameless_targets(reader.contract):
            advice = "no column of targets is known: fit the estimator to targets with a name, a column of a frame"
        if labels := reader.label_table:
            advice = f"the targets were looked for in {labels}: name the table for these files with --data.labels"
        raise DataError(problem(", ".join(data), "documents with targets", "none", advice))
    without = None if KINDS[reader.target].from_tokens else tally.without_target
    return result.with_bytes(tally.per_token or _bytes_per_token(data)), without


def _of_nameless_targets(contract: Contract) -> bool:
    """Whether it is that of an estimator of texts whose targets had no name."""
    columns = contract.options.get("columns") or {}
    return "seed" in contract.encoder and not any(columns.get(name) for name in ("label", "values"))


def _evaluated(trainer: Trainer | FilterLearner, reader: Reader, documents: Iterable[Document]) -> Evaluation:
    """Metrics on documents."""
    if isinstance(trainer, FilterLearner):
        contract = reader.contract
        named = ((one.name, contract.series(one.x), one.targets) for one in documents)
        return trainer.evaluate(of_documents(named, trainer.kind, len(contract.values)))
    if KINDS[reader.target].from_tokens:
        documents = pieces(documents, trainer.config.data.length or 0)
    documents = in_channels(documents, reader.contract)
    groups = batches(documents, trainer.config.model, trainer.config.train.batch_size)
    return trainer.evaluate(arrays for _, arrays in groups)


def _bytes_per_token(data: Sequence[str]) -> float | None:
    """Mean bytes of text per token of one part of prepared data, from its contract; None for anything else."""
    folder = Path(data[0]).expanduser()
    if len(data) > 1 or not is_prepared(folder):
        return None
    part = Contract.from_manifest(read_manifest(folder), folder).parts.get(folder.resolve().name)
    return None if part is None else part.bytes_per_token
