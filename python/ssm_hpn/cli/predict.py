"""`predict`: a row per document, as JSON lines, CSV or Parquet.

ID is the id column's name in the data, its values as given and in their type, with `file` beside it where several were
read; `name` where files or rows are the documents.

Rows come in the order of the names of the files, as every command reads them, and of the documents in each. Where rows
of a file are time steps, its documents are ordered by id: shorter ids first, ids of one length by their characters, so
that 2 comes before 10. Rows without a document, such as an empty text, have none; how many there were is said on
stderr, as is what was noticed while reading.

What stands beside it follows from what is predicted:

a class per document     "class", "score",             class null where the confidence does not reach --reject-below, or
                         "confidence", "scores",       where the best output has no class in the data (`output K`);
                         "probability",                score and probability of the nearest class; scores and
                         "probabilities"               probabilities by the name of the class
numbers per document     "values"                      by the name of the number, in the units of the training data
a class per token        "classes"
numbers per token        "values"                      a list by the name of the number
the next token           "next", "score"               what follows the document

The confidence says how typical a document is of any class (`closed_form.typicality`), of a
backbone by the density of its features (`closed_form.feature_density`), of one without by its score.
Without --reject-below the threshold is that of `evaluate --keep`, where the run has one; that is said on stderr.

A number to predict has the name of its column; of an array it is the array's name and place, `value[0]` where the array
has no name of its own. Nothing is rounded: numbers are in double precision, mean + deviation times what the model
answers, and a score is the shortest decimal that stands for it in single precision.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.calibrated import class_probabilities, confidences
from ssm_hpn.classes import text_of
from ssm_hpn.cli.answers import answers_classes, inputs_of, print_uncalibrated, scores_among, stored_threshold
from ssm_hpn.cli.checkpoint import (
    add_data,
    add_file_options,
    checkpoint_parser,
    contract_of,
    file_options,
    load_model,
    print_notes,
)
from ssm_hpn.cli.parser import path_of
from ssm_hpn.cli.rows import check_ending, write_rows
from ssm_hpn.contract import Contract
from ssm_hpn.counts import counted
from ssm_hpn.documents import Document, Reader, batches, in_channels
from ssm_hpn.errors import EXIT_DONE, ConfigError, problem, shown
from ssm_hpn.filter_data import grouped
from ssm_hpn.filter_evaluation import answers
from ssm_hpn.filter_learner import FilterLearner
from ssm_hpn.targets import KINDS
from ssm_hpn.trainer import Trainer

Floats = NDArray[np.float64]

AT_ONCE = 4096
DESCRIPTION = (
    "Predictions for raw files or a prepared folder, a row per document: files by their names, in each by the order of "
    "rows; where rows are time steps by id, shorter ids first (2 before 10). Rows without a document (an empty text) "
    "are left out and counted on stderr."
)
ANSWERS = {
    "class",
    "score",
    "confidence",
    "scores",
    "probability",
    "probabilities",
    "classes",
    "values",
    "next",
    "file",
}


def run(arguments: Sequence[str], prog: str) -> int:
    """Predict; returns the exit code."""
    parser = checkpoint_parser(prog, DESCRIPTION)
    add_data(parser, "raw files, or a prepared folder", required=True)
    add_file_options(parser)
    parser.add_argument(
        "--out", type=path_of, help="file to write: .jsonl, .csv or .parquet (default: JSON lines on standard output)"
    )
    parser.add_argument(
        "--reject-below",
        metavar="X",
        help="no class where the confidence is below X (default: the one that evaluate found; none: always a class)",
    )
    options = parser.parse_args(arguments)
    if options.out is not None:
        check_ending(options.out)
    given, bound = file_options(options), None if options.reject_below is None else bound_of(options.reject_below)
    if "labels" in given:
        advice = "leave it out"
        raise ConfigError(problem("--data.labels", "nothing, as predict reads no targets", given["labels"], advice))
    trainer = load_model(options)
    reader = Reader(contract_of(trainer, options.checkpoint), trainer.config.model.target.kind, given)
    wanted = reader, options.data, _threshold(trainer, options.checkpoint, bound)
    rows = predictions(trainer, *wanted) if isinstance(trainer, Trainer) else _of_features(trainer, *wanted)
    write_rows(_told_if_all_rejected(rows), options.out, reader.contract.classes)
    print_notes(reader)
    print_uncalibrated(trainer)
    return EXIT_DONE


def bound_of(text: str) -> float:
    """A threshold among the arguments; `none` is below every confidence."""
    try:
        bound = -inf if text == "none" else float(text)
    except ValueError:
        bound = nan
    if isnan(bound):
        raise ConfigError(problem("--reject-below", "a number, or none", shown(text), "give a confidence, such as 0.5"))
    return bound


def _threshold(trainer: Trainer | FilterLearner, checkpoint: Path, given: float | None) -> float | None:
    """The given one, or that of the run, which is then said."""
    if given is not None:
        return given
    found = stored_threshold(trainer, checkpoint)
    if found is not None:
        told = f"no class below the confidence {found:.6g}, the threshold that evaluate --keep found"
        print(f"note: {told}; --reject-below none answers always", file=sys.stderr)
    return found


def _told_if_all_rejected(rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows; says after the last one where none got a class."""
    count, rejected, largest = 0, 0, -inf
    for row in rows:
        count += 1
        if "class" in row and row["class"] is None:
            rejected, largest = rejected + 1, max(largest, row["confidence"])
        yield row
    if count and rejected == count:
        what = f"none of {counted(count, 'document')} has a class: the largest confidence is {largest:.6g}"
        print(f"note: {what}, below the threshold; --reject-below takes a lower one, or none", file=sys.stderr)


def predictions(
    trainer: Trainer, reader: Reader, paths: Sequence[str], reject_below: float | None = None
) -> Iterator[dict[str, Any]]:
    """One row per document, in the order of the data."""
    key = _key(reader)
    if KINDS[reader.target].from_tokens:
        yield from _continuations(trainer, reader, paths, key)
        return
    documents = in_channels(reader.documents(paths, targets=False), reader.contract)
    for group, arrays in batches(documents, trainer.config.model, trainer.config.train.batch_size):
        (scores, features), found = trainer.predict_with_features(inputs_of(arrays)), None
        if answers_classes(trainer):
            of_classes = scores_among(trainer, np.asarray(scores, np.float64))
            confidence = confidences(trainer, of_classes, features)
            found = _Chances(class_probabilities(trainer, of_classes), confidence)
        for number, (document, row) in enumerate(zip(group, scores, strict=True)):
            chances = None if found is None else found.of(number)
            yield {**_named(document, key), **answer(reader, document, row, reject_below, chances)}


def _of_features(
    learner: FilterLearner, reader: Reader, paths: Sequence[str], reject_below: float | None
) -> Iterator[dict[str, Any]]:
    """One row per document, from a model of features."""
    key, contract = _key(reader), reader.contract
    for group in grouped(reader.documents(paths, targets=False), lambda one: len(one.x)):
        series = [contract.series(document.x) for document in group]
        found = answers(learner.model, series, threads=learner.config.train.threads)
        parts = [part for part in (found.scores, found.numbers) if part is not None]
        whole = None
        if found.probabilities is not None and found.confidence is not None:
            whole = _Chances(found.probabilities, found.confidence)
        for number, (document, row) in enumerate(zip(group, np.concatenate(parts, axis=1), strict=True)):
            chances = None if whole is None else whole.of(number)
            yield {**_named(document, key), **answer(reader, document, row, reject_below, chances)}


@dataclass(frozen=True)
class _Chances:
    """Probabilities [n, C] and confidences [n] of documents, or [C] and one number of a document."""

    probabilities: Floats
    confidence: Any

    def of(self, number: int) -> "_Chances":
        return _Chances(self.probabilities[number], self.confidence[number])


def _key(reader: Reader) -> str:
    """The key of a document's id or name."""
    column = reader.id_column
    return "name" if column is None or column in ANSWERS else column


def _named(document: Document, key: str) -> dict[str, Any]:
    """The id as given, or the name; and the file, where ids of several files were read."""
    if document.id is None:
        return {key: document.name}
    return {key: document.id} | ({} if document.file is None else {"file": document.file})


def answer(
    reader: Reader, document: Document, scores: NDArray[Any], reject_below: float | None, chances: _Chances | None
) -> dict[str, Any]:
    """The row of one document, from its scores [C] or [T, C], exact in single precision, and numbers in double."""
    contract, kind = reader.contract, KINDS[reader.target]
    scores = scores if kind.pooled else scores[: len(document.x)]
    found: dict[str, Any] = {}
    n_scores = scores.shape[-1]
    n_values = n_scores if not kind.has("class") else 1 if kind.has("number") else 0
    of_classes, of_numbers = scores[..., : n_scores - n_values], scores[..., n_scores - n_values :]
    if kind.has("class") and not kind.pooled:
        found["classes"] = [_class(contract, index) for index in of_classes.argmax(axis=1).tolist()]
    elif kind.has("class"):
        best = int(of_classes.argmax())
        all_scores = exact(of_classes.astype(np.float32))
        by_class = {_name(contract, index): score for index, score in enumerate(all_scores)}
        assert chances is not None
        confidence = exact(np.array([chances.confidence], np.float32))[0]
        rejected = reject_below is not None and confidence < reject_below
        chosen = None if rejected else _class(contract, best)
        probabilities = exact(chances.probabilities.astype(np.float32))
        found |= {
            "class": chosen,
            "score": all_scores[best],
            "confidence": confidence,
            "scores": by_class,
            "probability": probabilities[best],
            "probabilities": {_name(contract, index): chance for index, chance in enumerate(probabilities)},
        }
    if kind.has("number"):
        names = contract.value_names or [f"value[{place}]" for place in range(n_values)]
        numbers = exact(of_numbers) if kind.pooled else map(exact, of_numbers.T)
        found["values"] = dict(zip(names, numbers, strict=True))
    return found


def _continuations(trainer: Trainer, reader: Reader, paths: Sequence[str], key: str) -> Iterator[dict[str, Any]]:
    """The next token after each document, which is read once, in constant memory."""
    stream = trainer.stream()
    for document in reader.documents(paths, targets=False):
        stream.reset()
        for start in range(0, len(document.x), AT_ONCE):
            scores = stream.prefill(document.x[None, start : start + AT_ONCE])[0]
        best = int(scores.argmax())
        following = reader.encoder.decode([best]) if reader.encoder else best
        yield {**_named(document, key), "next": following, "score": exact(scores[best : best + 1])[0]}


def _class(contract: Contract, index: int) -> str | int | float | bool | None:
    """The class as it was written; None where a head has more outputs than the data has classes."""
    classes = contract.classes
    if classes is None:
        return index
    return classes.value(index) if index < len(classes) else None


def _name(contract: Contract, index: int) -> str:
    """Name of an output of the head."""
    value = _class(contract, index)
    return f"output {index}" if value is None else text_of(value)


def exact(values: NDArray[Any]) -> list[float]:
    """Numbers as Python floats with the shortest decimal that is exact in the array's precision.

    >>> exact(np.array([0.1, 1e6], np.float32)), exact(np.array([1.7e9 + 0.123456]))
    ([0.1, 1000000.0], [1700000000.123456])
    """
    if values.dtype != np.float32:
        return [float(value) for value in values]
    return [float(str(value)) for value in values]
