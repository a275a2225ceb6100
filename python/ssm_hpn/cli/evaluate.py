"""`evaluate`: the metrics of a checkpoint on held-out data or on files of the user's, and a table per class.

Of a class per document also how far its probabilities can be believed, what a threshold of the confidence rejects, and
how well it tells documents whose class the training data does not have. `--keep 0.95` finds the threshold at which 95 %
of the documents are answered, and keeps it in the run, whose `predict` then uses it.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import numpy as np

from ssm_hpn import filter_evaluation
from ssm_hpn.calibrated import (
    Entry,
    RunCalibration,
    Threshold,
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
    step_of_model,
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
from ssm_hpn.cli.tables import CLASS_HEADER, class_rows, judgement_lines, metric_table
from ssm_hpn.closed_form.calibration import softmax
from ssm_hpn.contract import Contract
from ssm_hpn.dataset import Arrays, is_prepared, read_manifest
from ssm_hpn.decisions import Answers
from ssm_hpn.documents import Document, Reader, Tally, batches, in_channels, pieces
from ssm_hpn.errors import EXIT_DONE, ConfigError, DataError, problem, shown
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
    text = (
        "share of the documents to answer: finds the threshold of the confidence, which predict of this run then uses"
    )
    parser.add_argument("--keep", metavar="SHARE", help=text)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    given, keep = file_options(options), None if options.keep is None else share_of(options.keep)
    trainer = load_model(options)
    _check_keep(keep, trainer)
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
    facts |= judged.facts(keep=keep, reject_below=stored_threshold(trainer, options.checkpoint))
    if keep is not None and "reject" not in facts:
        expected = "documents of classes that the training data has, whose confidence it is found from"
        where = "the held-out data" if options.data is None else ", ".join(options.data)
        advice = "give labelled documents of these classes, or leave it out"
        raise DataError(problem("--keep", expected, f"none in {where}", advice))
    if reader is not None and reader.strange:
        facts["strange"]["labels"] = dict(reader.strange)
    stored = keep is not None and _store(trainer, options.checkpoint, facts["reject"])
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
    if lines := judgement_lines(facts, stored=stored):
        print()
        print("\n".join(lines))
    return EXIT_DONE


@dataclass(frozen=True)
class _Result:
    evaluation: Evaluation
    without_target: int | None = None
    """Documents without a target, where targets are columns of the data."""


def share_of(text: str) -> float:
    """A share among the arguments."""
    try:
        share = float(text)
    except ValueError:
        share = nan
    if not 0 < share <= 1:
        raise ConfigError(problem("--keep", "a share above 0 and up to 1", shown(text), "use 0.95 for 19 of 20"))
    return share


def _check_keep(keep: float | None, trainer: Trainer | FilterLearner) -> None:
    if keep is not None and not answers_classes(trainer):
        found = f"the target {trainer.config.model.target.kind}"
        raise ConfigError(problem("--keep", "a model of a class per document", found, "leave it out"))


def _store(trainer: Trainer | FilterLearner, checkpoint: Path, found: dict[str, Any]) -> bool:
    """Keep the threshold in the run of the checkpoint; whether there is one."""
    run = run_of(checkpoint)
    if not is_run(run):
        return False
    step = step_of_model(trainer)
    threshold = Threshold(keep=found["keep"], reject_below=found["reject_below"], series=found["series"])
    RunCalibration(run).put(Entry(step=step, threshold=threshold))
    return True


def _fit_density(trainer: Trainer, checkpoint: Path, keep: float | None) -> None:
    """Fit the density of a checkpoint that has none, and keep it in the run; not where a threshold of the scores is."""
    there = trainer.density is not None or (keep is None and stored_threshold(trainer, checkpoint) is not None)
    if not there and fit_density_of(trainer) and is_run(run_of(checkpoint)):
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
