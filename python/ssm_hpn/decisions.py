"""`decisions.json` of a run: what a classifier of sequences decided on held-out data, and why, in bounded size.

calibration   how often the class was right where its probability was p: ten bins, expected calibration error (also
              before the temperature of the scores was fitted), Brier score, log loss
reject        share of the series that are answered against accuracy, by the confidence that `reject_below` means
mistakes      the series whose own class was least probable, as small pictures with the evidence of each step
typical       of each class a series of middling probability that was recognised

    expected calibration error   Σ_b n_b/N·|accuracy_b - mean probability_b|
    Brier score                  1/N Σ_i Σ_c (P_i(c) - [c = y_i])²
    log loss                     -1/N Σ_i ln P_i(y_i)

A picture has at most `MOST_POINTS` numbers per channel. Of a longer series they are the smallest and the largest number
of every stretch, in the order in which they occur; the evidence of a stretch is summed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ssm_hpn.closed_form import RejectCurve
from ssm_hpn.config.words import expected
from ssm_hpn.errors import DataError, problem, shown
from ssm_hpn.storage import write_whole

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FILE: Final = "decisions.json"
VERSION: Final = 1
MOST_MISTAKES: Final = 12
MOST_TYPICAL: Final = 8
MOST_POINTS: Final = 240
MOST_CHANNELS: Final = 4
MOST_THRESHOLDS: Final = 101
BINS: Final = 10
DIGITS: Final = 5
"""Digits of a number in the file."""

ABOUT_ENTRIES: Final = {"missing": ("this entry", "none"), "extra_forbidden": ("no such entry", "one")}
"""What was expected and found, by pydantic's name of an error about an entry as a whole."""

Share = Annotated[float, Field(ge=0, le=1)]
Place = Annotated[int, Field(ge=0)]
Points = Annotated[tuple[float | None, ...], Field(max_length=MOST_POINTS)]
Evidence = Annotated[tuple[float, ...], Field(max_length=MOST_POINTS)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Channel(_Part):
    """One channel of a picture; null is a missing number."""

    name: str
    values: Points


class Picture(_Part):
    """A series, what it was taken for, and where in it the evidence lies."""

    name: str
    label: Place
    """Number of its own class."""
    predicted: Place
    against: Place
    """The class that the evidence is compared with: its own one, or where that was predicted the next best."""
    probability: Share
    """Of the class that was predicted."""
    probability_of_label: Share
    steps: Place
    channels: Annotated[tuple[Channel, ...], Field(max_length=MOST_CHANNELS)]
    n_channels: Place
    """Channels of the series, of which the first ones are shown."""
    evidence: Evidence
    """For the class that was predicted, at even distances over the steps; empty where it cannot be told."""
    evidence_against: Evidence
    """For the class `against`."""

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if len(self.evidence) != len(self.evidence_against):
            raise ValueError("evidence of both classes at the same steps")
        return self


class Bin(_Part):
    """The series whose highest probability lies in [low, high); the last bin includes 1."""

    low: Share
    high: Share
    count: Place
    probability: Share | None
    """Mean of the highest probabilities; null without a series."""
    accuracy: Share | None


class Calibration(_Part):
    """How far probabilities can be believed."""

    bins: Annotated[tuple[Bin, ...], Field(min_length=BINS, max_length=BINS)]
    expected_error: Share
    before: Share | None = None
    """The expected error of the softmax of the scores as in training (of features, of the inner products), before a
    temperature was fitted; null where none was."""
    fitted_here: bool = False
    """Whether the temperature was fitted to the series that it is judged on: one number for all of them."""
    brier: Annotated[float, Field(ge=0, le=2)]
    log_loss: Annotated[float, Field(ge=0)]


class Reject(_Part):
    """Thresholds of the confidence in rising order, each with what it leaves."""

    thresholds: Annotated[tuple[float, ...], Field(min_length=1, max_length=MOST_THRESHOLDS)]
    answered: tuple[Share, ...]
    accuracy: tuple[Share, ...]

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if not len(self.thresholds) == len(self.answered) == len(self.accuracy):
            raise ValueError("as many shares and accuracies as thresholds")
        return self


class Decisions(_Part):
    """Everything in the file."""

    version: Literal[1] = VERSION
    step: int | None
    """Updates of the model; null for one that has none."""
    count: Annotated[int, Field(ge=1)]
    """Labelled series that were looked at."""
    out_of: Annotated[int, Field(ge=1)]
    """Labelled series that there are."""
    right: Place
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    calibration: Calibration
    reject: Reject
    mistakes: Annotated[tuple[Picture, ...], Field(max_length=MOST_MISTAKES)]
    typical: Annotated[tuple[Picture, ...], Field(max_length=MOST_TYPICAL)]
    note: str | None = None
    """Why there is no evidence, or there are no pictures."""

    @model_validator(mode="after")
    def _checked(self) -> Self:
        places = [place for one in self.pictures for place in (one.label, one.predicted, one.against)]
        if max(places, default=0) >= len(self.classes):
            raise ValueError(f"classes below {len(self.classes)}")
        if not self.right <= self.count <= self.out_of:
            raise ValueError("right <= count <= out_of")
        return self

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """Mistakes and typical series."""
        return self.mistakes + self.typical


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model answered for N labelled series."""

    labels: Ints
    """[N] number of each series' class."""
    scores: Floats
    """[N, C]: the class of the largest one is predicted."""
    probabilities: Floats
    """[N, C]."""
    confidence: Floats | None = None
    """[N] what `reject_below` is compared with; None for the largest score."""
    before: Floats | None = None
    """[N, C] probabilities before the temperature was fitted; None where none was."""
    fitted_here: bool = False
    """Whether the temperature was fitted to these series."""

    def of(self, rows: Ints, labels: Ints) -> "Answers":
        """Those for some of the series, with labels [N] of all."""
        confidence, before = (None if one is None else one[rows] for one in (self.confidence, self.before))
        return Answers(labels[rows], self.scores[rows], self.probabilities[rows], confidence, before, self.fitted_here)

    @property
    def confidences(self) -> Floats:
        """[N] what `reject_below` is compared with."""
        return np.asarray(self.scores.max(axis=1)) if self.confidence is None else self.confidence


@dataclass(frozen=True, eq=False)
class Shown:
    """A series to draw."""

    name: str
    values: Floats
    """[T, F] in the user's units, NaN for a missing number."""
    evidence: Floats | None
    """[T, C] for the score of each class."""


def decisions_of(
    answers: Answers,
    look: Callable[[list[int]], Sequence[Shown]] | None,
    *,
    classes: Sequence[str],
    channels: Sequence[str] = (),
    step: int | None = None,
    out_of: int | None = None,
    note: str | None = None,
) -> Decisions:
    """The decisions behind answers.

    Parameters
    ----------
    answers
        Of held-out series, at least one.
    look
        For the places of some of the series: how to draw them. It is called once, for at most 20 series; None draws
        none of them.
    classes, channels
        Their names.
    step
        Updates of the model.
    out_of
        Held-out series that there are, where `answers` are of some of them.
    note
        Why there are no pictures or no evidence.

    >>> answers = Answers(np.array([0, 1]), np.array([[0.9, -0.9], [0.1, -0.1]]), np.array([[0.9, 0.1], [0.6, 0.4]]))
    >>> wave = Shown("second", np.ones((30, 1)), np.zeros((30, 2)))
    >>> found = decisions_of(answers, lambda places: [wave for _ in places], classes=["calm", "wild"], channels=["x"])
    >>> found.right, [(one.label, one.predicted) for one in found.mistakes], found.calibration.brier
    (1, [(1, 0)], 0.37)
    """
    wrong = np.flatnonzero(~np.isfinite(answers.scores + answers.probabilities).all(axis=1))
    if len(wrong):
        found = f"others for series {wrong[0]}"
        raise DataError(problem("scores", "finite numbers", found, "train with a smaller learning rate"))
    predicted = answers.scores.argmax(axis=1)
    right = predicted == answers.labels
    worst, typical = ([], []) if look is None else (_worst(answers, right), _typical(answers, right))
    series = [] if look is None else look(worst + typical)
    pictures = [_picture(answers, place, one, channels) for place, one in zip(worst + typical, series, strict=True)]
    return Decisions(
        step=step,
        count=len(right),
        out_of=len(right) if out_of is None else out_of,
        right=int(right.sum()),
        classes=tuple(classes),
        calibration=_calibration(answers, predicted, right),
        reject=_reject(answers, right),
        mistakes=tuple(pictures[: len(worst)]),
        typical=tuple(pictures[len(worst) :]),
        note=note,
    )


def write_decisions(folder: Path, decisions: Decisions) -> None:
    """Write them into the folder of a run."""
    write_whole(folder / FILE, decisions.model_dump_json() + "\n")


def read_decisions(folder: Path) -> Decisions | None:
    """Those of a run; None where it has none. Raises `DataError` for a file that is damaged."""
    path = folder / FILE
    try:
        return Decisions.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise DataError(_damage(path, error)) from None
    except OSError as error:
        raise DataError(problem(path, "a readable file", error.strerror, "restore or remove it")) from None


def _damage(path: Path, error: ValidationError) -> str:
    row = error.errors(include_url=False)[0]
    where = ".".join(map(str, row["loc"]))
    entry, advice = f"{path}: {where}" if where else path, "restore or remove it"
    if row["type"] == "json_invalid":
        return problem(path, "JSON", row["msg"].removeprefix("Invalid JSON: "), advice)
    if row["type"] in ABOUT_ENTRIES:
        return problem(entry, *ABOUT_ENTRIES[row["type"]], advice)
    wanted = "an object" if row["type"] == "model_type" else expected(row, None)
    return problem(entry, wanted, shown(row["input"], 40), advice)


# ---- which series


def _worst(answers: Answers, right: NDArray[np.bool_]) -> list[int]:
    """The mistakes whose own class was least probable."""
    wrong = np.flatnonzero(~right)
    own = answers.probabilities[wrong, answers.labels[wrong]]
    return [int(place) for place in wrong[np.argsort(own, kind="stable")][:MOST_MISTAKES]]


def _typical(answers: Answers, right: NDArray[np.bool_]) -> list[int]:
    """Of each of the most frequent classes the recognised series of middling probability, in the order of classes."""
    counts = np.bincount(answers.labels[right], minlength=answers.scores.shape[1])
    frequent = [int(label) for label in np.argsort(-counts, kind="stable")[:MOST_TYPICAL] if counts[label]]
    found = []
    for label in sorted(frequent):
        places = np.flatnonzero(right & (answers.labels == label))
        order = np.argsort(answers.probabilities[places, label], kind="stable")
        found.append(int(places[order[len(order) // 2]]))
    return found


# ---- pictures


def _picture(answers: Answers, place: int, series: Shown, channels: Sequence[str]) -> Picture:
    scores, probabilities = answers.scores[place], answers.probabilities[place]
    label, predicted = int(answers.labels[place]), int(scores.argmax())
    others = np.where(np.arange(len(scores)) == predicted, -np.inf, scores)
    against = label if label != predicted else int(others.argmax())
    columns = [
        Channel(name=name, values=tuple(_rounded(x) if np.isfinite(x) else None for x in outline(values)))
        for name, values in zip(channels, series.values.T[:MOST_CHANNELS], strict=False)
    ]

    def evidence(label: int) -> tuple[float, ...]:
        return () if series.evidence is None else tuple(map(_rounded, summed(series.evidence[:, label])))

    return Picture(
        name=series.name,
        label=label,
        predicted=predicted,
        against=against,
        probability=_rounded(probabilities[predicted]),
        probability_of_label=_rounded(probabilities[label]),
        steps=len(series.values),
        channels=tuple(columns),
        n_channels=series.values.shape[1],
        evidence=evidence(predicted),
        evidence_against=evidence(against),
    )


def outline(values: Floats, most: int = MOST_POINTS) -> Floats:
    """A series [T] with at most this many points, an even number; see the module.

    >>> outline(np.array([0.0, 1.0, 9.0, 2.0, 3.0, -5.0, 4.0, 4.0]), most=4).tolist()
    [0.0, 9.0, -5.0, 4.0]
    """
    if len(values) <= most:
        return values
    found: list[float] = []
    for part in np.array_split(values, most // 2):
        known = np.flatnonzero(~np.isnan(part))
        if not len(known):
            found += [np.nan, np.nan]
            continue
        ends = part[known].argmin(), part[known].argmax()
        found += [float(part[known[place]]) for place in sorted(ends)]
    return np.array(found)


def summed(values: Floats, most: int = MOST_POINTS) -> Floats:
    """Numbers [T] summed over at most this many stretches.

    >>> summed(np.ones(7), most=3).tolist()
    [3.0, 2.0, 2.0]
    """
    if len(values) <= most:
        return values
    return np.array([part.sum() for part in np.array_split(values, most)])


# ---- calibration and rejection


def _calibration(answers: Answers, predicted: Ints, right: NDArray[np.bool_]) -> Calibration:
    p, rows = answers.probabilities, np.arange(len(predicted))
    bins, error = _reliability(p[rows, predicted], right)
    before = None
    if answers.before is not None:
        before = _rounded(_reliability(answers.before[rows, predicted], right)[1])
    own = p[rows, answers.labels]
    brier = (p**2).sum(axis=1) - 2 * own + 1
    log_loss = -np.log(np.maximum(own, np.finfo(np.float64).tiny))
    return Calibration(
        bins=bins,
        expected_error=_rounded(error),
        before=before,
        fitted_here=answers.fitted_here,
        brier=_rounded(max(float(brier.mean()), 0.0)),
        log_loss=_rounded(max(float(log_loss.mean()), 0.0)),
    )


def _reliability(probability: Floats, right: NDArray[np.bool_]) -> tuple[tuple[Bin, ...], float]:
    """The bins of the probabilities [N] of the classes that were predicted, and the expected calibration error."""
    best = np.clip(probability, 0.0, 1.0)
    place = np.minimum((best * BINS).astype(np.int64), BINS - 1)
    bins, total = [], 0.0
    for number in range(BINS):
        inside = place == number
        count = int(inside.sum())
        mean = float(best[inside].mean()) if count else None
        accuracy = float(right[inside].mean()) if count else None
        if mean is not None and accuracy is not None:
            total += count / len(best) * abs(accuracy - mean)
        bins.append(
            Bin(
                low=number / BINS,
                high=(number + 1) / BINS,
                count=count,
                probability=None if mean is None else _rounded(mean),
                accuracy=None if accuracy is None else _rounded(accuracy),
            )
        )
    return tuple(bins), min(total, 1.0)


def expected_calibration_error(probabilities: Floats, predicted: Ints, labels: Ints) -> float:
    """Σ_b n_b/N·|accuracy_b - mean probability_b| over ten bins, of the probabilities [N, C] of classes predicted [N].

    >>> expected_calibration_error(np.array([[0.75, 0.25]] * 4), np.zeros(4, int), np.array([0, 0, 0, 1]))
    0.0
    """
    return _reliability(probabilities[np.arange(len(labels)), predicted], predicted == labels)[1]


def _reject(answers: Answers, right: NDArray[np.bool_]) -> Reject:
    curve = RejectCurve.of(answers.confidences, right, np.ones(len(right)))
    count = len(curve.thresholds)
    kept = np.unique(np.linspace(0, count - 1, min(count, MOST_THRESHOLDS)).round().astype(np.int64))
    answered, accuracy = (tuple(map(_rounded, part[kept])) for part in (curve.answered, curve.accuracy))
    return Reject(thresholds=tuple(curve.thresholds[kept].tolist()), answered=answered, accuracy=accuracy)


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
