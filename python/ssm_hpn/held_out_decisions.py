"""The decisions of a fitted model on the held-out part of its prepared data, for `decisions.json`."""

from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ssm_hpn._core import ShardReader
from ssm_hpn.calibrated import (
    calibrate,
    class_probabilities,
    confidences,
    described,
    fit_density,
    for_density,
    scale_of_training,
)
from ssm_hpn.closed_form.calibration import softmax
from ssm_hpn.contract import Contract
from ssm_hpn.dataset import padded
from ssm_hpn.decisions import Answers, Decisions, Shown, decisions_of
from ssm_hpn.evidence import step_evidence, untold
from ssm_hpn.filter_evaluation import class_answers
from ssm_hpn.filter_learner import FilterLearner
from ssm_hpn.learner import Learner
from ssm_hpn.printable import on_one_line
from ssm_hpn.series import groups_by_length
from ssm_hpn.targets import KINDS, column_with

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Read = NDArray[Any]
"""A document as a model reads it: channels f32 [T, C] or tokens [T]."""

MOST_SERIES: Final = 20_000
"""Of more held-out series every second, third, ... is looked at."""
MOST_SCORES: Final = 1 << 24
AT_ONCE: Final = 1 << 10
STEPS_AT_ONCE: Final = 1 << 20


@dataclass(frozen=True, eq=False)
class Decider:
    """How a model answers, and what its answers come from."""

    contract: Contract
    column: str
    """Column of the classes in the data."""
    score: Callable[[list[Read]], Floats]
    """Of n documents what the answers follow from: scores [n, C], or z [n, C - 1] of features."""
    answer: Callable[[Ints, Floats], Answers]
    """The answers, from the labels of all documents and what `score` gave for them."""
    evidence: Callable[[list[Read]], list[Floats]] | None
    """[T, C] of each of some documents; None where it cannot be told."""
    step: int | None = None
    note: str | None = None
    """Why there is no evidence."""


def decisions_on(folder: Path, decider: Decider) -> Decisions | None:
    """The decisions on the labelled documents of a prepared folder; None where there are none."""
    contract, column = decider.contract, decider.column
    total = sum(1 for _ in _labelled(folder, column, read=False))
    if not total:
        return None
    stride = _stride(decider, total)
    answers = _answers(folder, decider, stride)

    def look(places: list[int]) -> list[Shown]:
        wanted = {place * stride for place in places}
        found = {at: one for at, one in enumerate(_labelled(folder, column)) if at in wanted}
        chosen = [found[place * stride] for place in places]
        evidence = [None] * len(chosen) if decider.evidence is None else decider.evidence([x for _, x, _ in chosen])
        return [
            Shown(on_one_line(name), contract.series(x), shares)
            for (name, x, _), shares in zip(chosen, evidence, strict=True)
        ]

    drawn = contract.kind == "features"
    known = [] if contract.classes is None else contract.classes.names
    count = answers.scores.shape[1]
    return decisions_of(
        answers,
        look if drawn else None,
        classes=[*known, *(f"output {k}" for k in range(len(known), count))],
        channels=[column.name for column in contract.features],
        step=decider.step,
        out_of=total,
        note=decider.note if drawn else "There are pictures of series alone, not of texts.",
    )


def decider_of(learner: Learner | FilterLearner) -> Decider | None:
    """How a model answers held-out documents; None for one without a class per document or without held-out data."""
    if isinstance(learner, FilterLearner):
        return _of_filters(learner)
    return _of_backbone(learner, learner.validation_folder)


def decisions_of_learner(learner: Learner | FilterLearner) -> Decisions | None:
    """The decisions of a model on its held-out data; None where `decider_of` gives none."""
    decider, folder = decider_of(learner), learner.validation_folder
    return None if decider is None or folder is None else decisions_on(folder, decider)


def answers_on(folder: Path, decider: Decider) -> Answers | None:
    """The answers to the labelled documents of a prepared folder, of many to some; None where there are none."""
    total = sum(1 for _ in _labelled(folder, decider.column, read=False))
    return _answers(folder, decider, _stride(decider, total)) if total else None


def _of_backbone(learner: Learner, folder: Path | None) -> Decider | None:
    model, contract = learner.config.model, learner.contract
    kind = KINDS[model.target.kind]
    column = column_with("class", kind.columns)
    if folder is None or contract is None or column is None or not kind.pooled:
        return None
    name = "tokens" if contract.kind == "tokens" else "features"
    reason = untold(model)

    def answer(labels: Ints, points: Floats) -> Answers:
        scores, features = points[:, : -model.d_model], points[:, -model.d_model :]
        before, here = softmax(scores, scale_of_training(learner)), learner.temperature is None
        if here:
            calibrate(learner, scores, labels)
        confidence = confidences(learner, scores, features)
        return Answers(labels, scores, class_probabilities(learner, scores), confidence, before, here)

    return Decider(
        contract,
        column,
        lambda documents: points_of(learner, documents, name),
        answer,
        None if reason else lambda documents: step_evidence(learner, documents),
        learner.session.step,
        f"Nothing tells where the evidence lies: {reason}." if reason else None,
    )


def _of_filters(learner: FilterLearner) -> Decider | None:
    model, folder, contract = learner.model, learner.validation_folder, learner.contract
    column, threads = column_with("class", learner.kind.columns), learner.config.train.threads
    if folder is None or column is None or model.classes is None:
        return None
    head = model.classes

    def score(documents: list[Read]) -> Floats:
        return model.class_scores([contract.series(one) for one in documents], threads=threads)

    def answer(labels: Ints, z: Floats) -> Answers:
        found = class_answers(head, z)
        assert found.scores is not None
        assert found.probabilities is not None
        return Answers(labels, found.scores, found.probabilities, found.confidence, found.before)

    def evidence(documents: list[Read]) -> list[Floats]:
        return model.evidence([contract.series(one) for one in documents], threads=threads)

    return Decider(contract, column, score, answer, evidence, learner.step)


def points_of(learner: Learner, documents: list[Read], name: str) -> Floats:
    """Scores of the classes and behind them the features [n, C + D], computed in batches of similar length."""
    lengths = [len(one) for one in documents]
    order = sorted(range(len(documents)), key=lengths.__getitem__)
    found: dict[int, Floats] = {}
    for group in groups_by_length(order, lengths):
        points = described(learner, padded([documents[i] for i in group], name))
        found |= zip(group, points, strict=True)
    n_values = 1 if KINDS[learner.config.model.target.kind].has("number") else 0
    points, width = np.stack([found[i] for i in range(len(documents))]), learner.config.model.d_model
    return np.delete(points, slice(points.shape[1] - width - n_values, points.shape[1] - width), axis=1)


def fit_density_of(learner: Learner) -> bool:
    """Fit the density of a trained model to its training data, of many documents to some; whether there is one now.

    There is none without a class per document, without training data, and of very few documents.
    """
    decider, folder = _of_backbone(learner, learner.train_folder), learner.train_folder
    if decider is None or folder is None:
        return False
    labels: list[int] = [label for _, _, label in _labelled(folder, decider.column, read=False)]
    rows = for_density(np.array(labels, np.int64), seed=learner.config.train.seed)
    if len(rows):
        chosen = np.array(labels)[rows]
        points = _scored(decider, _labelled(folder, decider.column), set(rows.tolist()))
        fit_density(learner, points[:, -learner.config.model.d_model :], chosen)
    return learner.density is not None


def _stride(decider: Decider, total: int) -> int:
    """Of many documents every second, third, ... is looked at."""
    n_classes = len(decider.contract.classes or ()) or 1
    return -(-total // max(1, min(MOST_SERIES, MOST_SCORES // n_classes)))


def _answers(folder: Path, decider: Decider, stride: int) -> Answers:
    labels = [label for _, _, label in _labelled(folder, decider.column, read=False)]
    rows = range(0, len(labels), stride)
    points = _scored(decider, _labelled(folder, decider.column), rows)
    return decider.answer(np.array(labels[::stride], np.int64), points)


def _scored(decider: Decider, documents: Iterable[tuple[str, Read, int]], rows: Container[int]) -> Floats:
    """What the answers to these of some documents follow from, in their order."""
    found: list[Floats] = []
    group: list[Read] = []
    for place, (_, x, _) in enumerate(documents):
        if place not in rows:
            continue
        if group and (len(group) == AT_ONCE or len(group) * len(group[0]) > STEPS_AT_ONCE):
            found.append(decider.score(group))
            group = []
        group.append(x)
    found.append(decider.score(group))
    return np.concatenate(found)


def _labelled(folder: Path, column: str, *, read: bool = True) -> Iterator[tuple[str, Read, int]]:
    """Name, content and class of every document that has one; without contents where these are not wanted."""
    reader, count = ShardReader(str(folder)), 0
    while (group := reader.next()) is not None:
        content = group["tokens"] if "tokens" in group else group["features"]
        names, labels = group.get("name"), group["targets"][column].tolist()
        for row, (start, end) in enumerate(pairwise(group["boundaries"].tolist())):
            if labels[row] >= 0:
                name = f"document {count + row}" if names is None else names[row]
                yield name, content[start:end] if read else content[:0], labels[row]
        count += len(labels)
