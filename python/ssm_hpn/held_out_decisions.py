"""The decisions of a fitted model on the held-out part of its prepared data, for `decisions.json`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ssm_hpn._core import ShardReader
from ssm_hpn.closed_form.calibration import softmax
from ssm_hpn.contract import Contract
from ssm_hpn.dataset import padded
from ssm_hpn.decisions import Answers, Decisions, Shown, decisions_of
from ssm_hpn.evidence import step_evidence, untold
from ssm_hpn.filter_evaluation import answers
from ssm_hpn.filter_learner import FilterLearner
from ssm_hpn.learner import Learner
from ssm_hpn.printable import on_one_line
from ssm_hpn.series import groups_by_length
from ssm_hpn.targets import KINDS, column_with

Floats = NDArray[np.float64]
Read = NDArray[Any]
"""A document as a model reads it: channels f32 [T, C] or tokens [T]."""

MOST_SERIES: Final = 20_000
"""Of more held-out series every second, third, ... is looked at."""
MOST_SCORES: Final = 1 << 24
AT_ONCE: Final = 1 << 10
STEPS_AT_ONCE: Final = 1 << 20
COSINE_SCALE: Final = 16.0
"""Factor of the cosines in probabilities of a loss that has none."""


@dataclass(frozen=True, eq=False)
class Decider:
    """How a model answers, and what its answers come from."""

    contract: Contract
    column: str
    """Column of the classes in the data."""
    answer: Callable[[list[Read]], tuple[Floats, Floats]]
    """Scores and probabilities [n, C] of n documents."""
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
    n_classes = len(contract.classes or ()) or 1
    stride = -(-total // max(1, min(MOST_SERIES, MOST_SCORES // n_classes)))
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


def decisions_of_learner(learner: Learner) -> Decisions | None:
    """The decisions of a trained model; None for one without a class per document or without held-out data."""
    model, folder, contract = learner.config.model, learner.validation_folder, learner.contract
    kind = KINDS[model.target.kind]
    column = column_with("class", kind.columns)
    if folder is None or contract is None or column is None or not kind.pooled:
        return None
    name = "tokens" if contract.kind == "tokens" else "features"
    reason = untold(model)

    def answer(documents: list[Read]) -> tuple[Floats, Floats]:
        scores = _scores(learner, documents, name)
        return scores, class_probabilities(learner, scores)

    return decisions_on(
        folder,
        Decider(
            contract,
            column,
            answer,
            None if reason else lambda documents: step_evidence(learner, documents),
            learner.session.step,
            f"Nothing tells where the evidence lies: {reason}." if reason else None,
        ),
    )


def decisions_of_filters(learner: FilterLearner) -> Decisions | None:
    """The decisions of a model of features; None for one without classes or without held-out data."""
    model, folder, contract = learner.model, learner.validation_folder, learner.contract
    column, threads = column_with("class", learner.kind.columns), learner.config.train.threads
    if folder is None or column is None or model.classes is None:
        return None

    def answer(documents: list[Read]) -> tuple[Floats, Floats]:
        found = answers(model, [contract.series(one) for one in documents], threads=threads)
        assert found.scores is not None
        assert found.probabilities is not None
        return found.scores, found.probabilities

    def evidence(documents: list[Read]) -> list[Floats]:
        return model.evidence([contract.series(one) for one in documents], threads=threads)

    return decisions_on(folder, Decider(contract, column, answer, evidence, learner.step))


def class_probabilities(learner: Learner, scores: Floats) -> Floats:
    """The softmax [n, C] of the scores of classes, cosines scaled as in training (by 16 for a loss without a scale)."""
    names, head = learner.session.parameter_names(), learner.config.model.head
    if head.kind == "linear":
        scale = 1.0
    elif "head.scale" in names:
        scale = float(learner.parameter("head.scale")[0])
    else:
        scale = float(getattr(getattr(head, "loss", None), "scale", COSINE_SCALE))
    return softmax(scores, scale)


def _scores(learner: Learner, documents: list[Read], name: str) -> Floats:
    """Scores of the classes [n, C], computed in batches of similar length."""
    lengths = [len(one) for one in documents]
    order = sorted(range(len(documents)), key=lengths.__getitem__)
    found: dict[int, Floats] = {}
    for group in groups_by_length(order, lengths):
        scores = learner.predict(padded([documents[i] for i in group], name)).astype(np.float64)
        found |= zip(group, scores, strict=True)
    n_values = 1 if KINDS[learner.config.model.target.kind].has("number") else 0
    return np.stack([found[i][: len(found[i]) - n_values] for i in range(len(documents))])


def _answers(folder: Path, decider: Decider, stride: int) -> Answers:
    labels: list[int] = []
    found: list[tuple[Floats, Floats]] = []
    group: list[Read] = []
    for place, (_, x, label) in enumerate(_labelled(folder, decider.column)):
        if place % stride:
            continue
        if group and (len(group) == AT_ONCE or len(group) * len(group[0]) > STEPS_AT_ONCE):
            found.append(decider.answer(group))
            group = []
        labels.append(label)
        group.append(x)
    found.append(decider.answer(group))
    scores, probabilities = (np.concatenate(part) for part in zip(*found, strict=True))
    return Answers(np.array(labels, np.int64), scores, probabilities)


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
