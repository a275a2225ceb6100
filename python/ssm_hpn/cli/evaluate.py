"""`evaluate`: the metrics of a checkpoint on held-out data or on files of the user's, and a table per class.

Of a class per document also how far its probabilities can be believed, what a threshold of the confidence rejects, and
how well it tells documents whose class the training data does not have. `--keep 0.95` finds the threshold at which 95 %
of the documents are answered, which `predict` then uses; `--calibrate` fits the scale of the probabilities to the
documents. Both are kept in the run, or beside a checkpoint that is in none.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssm_hpn import filter_evaluation
from ssm_hpn.calibrated import (
    class_probabilities,
    confidences,
    keep_density,
    keep_fitted,
    scale_of_training,
)
from ssm_hpn.checkpoints import is_run
from ssm_hpn.cli.answers import (
    answers_classes,
    inputs_of,
    print_uncalibrated,
    scores_among,
    stored_threshold,
)
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
from ssm_hpn.cli.kept import Kept, check_wanted, share_of
from ssm_hpn.cli.tables import CLASS_HEADER, class_rows, judgement_lines, metric_table
from ssm_hpn.closed_form.calibration import softmax
from ssm_hpn.contract import Contract
from ssm_hpn.dataset import Arrays, is_prepared, read_manifest
from ssm_hpn.decisions import Answers
from ssm_hpn.documents import Document, Reader, Tally, batches, in_channels, pieces
from ssm_hpn.errors import EXIT_DONE, ConfigError, DataError, problem
from ssm_hpn.evaluation import Evaluation
from ssm_hpn.filter_data import Labelled, of_documents
from ssm_hpn.filter_learner import FilterLearner
from ssm_hpn.held_out_decisions import answers_on, decider_of, fit_density_of
from ssm_hpn.judgement import Judged
from ssm_hpn.run import run_of
from ssm_hpn.targets import KINDS, column_with
from ssm_hpn.trainer import Trainer


def run(arguments: Sequence[str], prog: str) -> int:
    """Evaluate; returns the exit code."""
    parser = checkpoint_parser(prog, "Metrics of a checkpoint on all of its held-out data, or on other data.")
    add_data(parser, "raw files, or a prepared folder (default: the run's held-out data)")
    add_file_options(parser)
    text = "share of the documents to answer: finds the threshold of the confidence, which predict then uses"
    parser.add_argument("--keep", metavar="SHARE", help=text)
    text = "fit the scale of the probabilities to the documents, which should be none that were trained on, and keep it"
    parser.add_argument("--calibrate", action="store_true", help=text)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    given, keep = file_options(options), None if options.keep is None else share_of(options.keep)
    trainer = load_model(options)
    check_wanted(trainer, keep=keep, calibrating=options.calibrate)
    if isinstance(trainer, Trainer):
        _fit_density(trainer, options.checkpoint, keep)
    judged, reader = Judged(), None
    if options.data is None:
        result = _held_out(trainer, options.checkpoint, judged)
    else:
        reader = _reader(trainer, options.checkpoint, given)
        result = _on(trainer, reader, options.data, judged)
    names = [] if trainer.contract is None else trainer.contract.value_names
    facts = result.evaluation.facts(names)
    if result.without_target is not None:
        facts["documents_without_target"] = result.without_target
    kept = Kept(trainer, options.checkpoint, "the held-out data" if options.data is None else ", ".join(options.data))
    facts |= kept.judged(judged, keep=keep, calibrating=options.calibrate)
    if reader is not None and reader.strange:
        facts["strange"]["labels"] = dict(reader.strange)
    if options.json:
        metrics = facts.pop("metrics")
        print(json.dumps({"step": facts.pop("step"), "targets": facts.pop("targets"), **metrics, **facts}))
        return EXIT_DONE
    evaluation = result.evaluation
    print(
        metric_table(facts, f"update {evaluation.step}" if isinstance(trainer, Trainer) else "features", targets=True)
    )
    per_class = class_rows(evaluation.totals, trainer.class_names)
    if per_class:
        print()
        print(table(CLASS_HEADER, per_class))
    if lines := judgement_lines(facts):
        print()
        print("\n".join(lines))
    return EXIT_DONE


@dataclass(frozen=True)
class _Result:
    evaluation: Evaluation
    without_target: int | None = None
    """Documents without a target, where targets are columns of the data."""


def _fit_density(trainer: Trainer, checkpoint: Path, keep: float | None) -> None:
    """Fit the density of a checkpoint that has none, and keep it in the run; not where a threshold of the scores is.

    With a threshold it is kept beside a checkpoint in no run too, as the threshold is of this confidence.
    """
    there = trainer.density is not None or (keep is None and stored_threshold(trainer, checkpoint) is not None)
    if not there and fit_density_of(trainer) and (keep is not None or is_run(run_of(checkpoint))):
        keep_density(run_of(checkpoint), trainer)


def _held_out(trainer: Trainer | FilterLearner, checkpoint: Path, judged: Judged) -> _Result:
    if trainer.validation_folder is None:
        if trainer.feed.absent is not None:
            digest = (trainer.config.data.digest or "")[:12]
            expected = f"the held-out data of this run, with the digest {digest}"
            advice = f"{trainer.feed.bring_back}, or give --data PATH"
            raise DataError(problem("held-out data", expected, f"none in {trainer.feed.absent}", advice))
        raise ConfigError(problem("--data", "a path, as the run has no held-out data", "none", "give --data PATH"))
    if isinstance(trainer, FilterLearner):
        return _Result(trainer.evaluate(seen=_judging(judged)))
    evaluation, decider = trainer.evaluate("all"), decider_of(trainer)
    found = None if decider is None else answers_on(trainer.validation_folder, decider)
    if found is not None:
        judged.add(found.labels, found)
        if found.fitted_here and is_run(run_of(checkpoint)):
            keep_fitted(run_of(checkpoint), trainer, len(found.labels))
    return _Result(evaluation)


def _judging(judged: Judged) -> Callable[[Labelled, filter_evaluation.Answers], None]:
    """What adds the answers of a model of features to those that are judged."""

    def seen(group: Labelled, found: filter_evaluation.Answers) -> None:
        assert group.codes is not None
        assert found.scores is not None
        assert found.probabilities is not None
        judged.add(group.codes, Answers(group.codes, found.scores, found.probabilities, found.confidence, found.before))

    return seen


def _reader(trainer: Trainer | FilterLearner, checkpoint: Path, given: dict[str, Any]) -> Reader:
    kind = trainer.config.model.target.kind
    return Reader(contract_of(trainer, checkpoint), kind, given, strange=answers_classes(trainer))


def _on(trainer: Trainer | FilterLearner, reader: Reader, data: Sequence[str], judged: Judged) -> _Result:
    tally = Tally(reader.documents(data))
    result = _evaluated(trainer, reader, tally, judged)
    print_notes(reader)
    print_uncalibrated(trainer)
    if reader.strange and isinstance(trainer, Trainer) and trainer.config.model.head.kind == "prototype":
        print("note: add-classes adds such classes to this model", file=sys.stderr)
    for folder in (trainer.train_folder, *trainer.feed.mix):
        for note in reader.note_trained(folder):
            print(f"note: {note}", file=sys.stderr)
    if result.totals.count == 0 and not judged.strange:
        advice = "give files with the columns of the training data, which `inspect RUN` lists"
        if _of_nameless_targets(reader.contract):
            advice = "no column of targets is known: fit the estimator to targets with a name, a column of a frame"
        if labels := reader.label_table:
            advice = f"the targets were looked for in {labels}: name the table for these files with --data.labels"
        raise DataError(problem(", ".join(data), "documents with targets", "none", advice))
    without = None if KINDS[reader.target].from_tokens else tally.without_target
    return _Result(result.with_bytes(tally.per_token or _bytes_per_token(data)), without)


def _of_nameless_targets(contract: Contract) -> bool:
    """Whether it is that of an estimator of texts whose targets had no name."""
    columns = contract.options.get("columns") or {}
    return "seed" in contract.encoder and not any(columns.get(name) for name in ("label", "values"))


def _evaluated(
    trainer: Trainer | FilterLearner, reader: Reader, documents: Iterable[Document], judged: Judged
) -> Evaluation:
    """Metrics on documents."""
    if isinstance(trainer, FilterLearner):
        contract = reader.contract
        named = ((one.name, contract.series(one.x), one.targets) for one in documents)
        return trainer.evaluate(of_documents(named, trainer.kind, len(contract.values)), seen=_judging(judged))
    if KINDS[reader.target].from_tokens:
        documents = pieces(documents, trainer.config.data.length or 0)
    documents = in_channels(documents, reader.contract)
    groups = batches(documents, trainer.config.model, trainer.config.train.batch_size)
    if not answers_classes(trainer):
        return trainer.evaluate(arrays for _, arrays in groups)
    return trainer.evaluate(_watched(trainer, groups, judged))


def _watched(trainer: Trainer, groups: Iterable[tuple[list[Document], Arrays]], judged: Judged) -> Iterator[Arrays]:
    """The batches of documents with a class each, whose answers are added to those that are judged."""
    column = column_with("class", KINDS[trainer.config.model.target.kind].columns)
    for group, arrays in groups:
        labels = np.array([int(one.targets.get(column or "", -1)) for one in group], np.int64)
        if (labels != -1).any():
            answered, features = trainer.predict_with_features(inputs_of(arrays))
            scores = scores_among(trainer, np.asarray(answered, np.float64))
            before, confidence = softmax(scores, scale_of_training(trainer)), confidences(trainer, scores, features)
            judged.add(labels, Answers(labels, scores, class_probabilities(trainer, scores), confidence, before))
        yield arrays


def _bytes_per_token(data: Sequence[str]) -> float | None:
    """Mean bytes of text per token of one part of prepared data, from its contract; None for anything else."""
    folder = Path(data[0]).expanduser()
    if len(data) > 1 or not is_prepared(folder):
        return None
    part = Contract.from_manifest(read_manifest(folder), folder).parts.get(folder.resolve().name)
    return None if part is None else part.bytes_per_token
