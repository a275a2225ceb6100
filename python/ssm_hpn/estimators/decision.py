"""What a classifier decides about series: classes, probabilities, confidence, and which series it rejects."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from ssm_hpn.classes import text_of
from ssm_hpn.closed_form import ClassHead
from ssm_hpn.closed_form.simplex import lifted_cosines
from ssm_hpn.errors import ConfigError, problem, shown
from ssm_hpn.estimators.backbone import Backbone
from ssm_hpn.estimators.base import number_of_threads
from ssm_hpn.estimators.stored import StoredModel
from ssm_hpn.estimators.stream import Source
from ssm_hpn.filter_model import FilterModel
from ssm_hpn.judgement import threshold_keeping

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Decision:
    """Decisions about N series, as `SSMClassifier.decide` answers them; `vars` of it are the columns of a frame.

    >>> decision = Decision(np.array(["a"]), np.array([0.9]), np.array([0.7]), np.array([0.8]), np.array([False]))
    >>> {name: column.tolist() for name, column in vars(decision).items()}
    {'label': ['a'], 'probability': [0.9], 'cosine': [0.7], 'confidence': [0.8], 'rejected': [False]}
    """

    label: NDArray[Any]
    """[N] the nearest class, of rejected series too."""
    probability: Floats
    """[N] of this class, if the series is of any of the classes."""
    cosine: Floats
    """[N] to its prototype; NaN of a linear head, which has none."""
    confidence: Floats
    """[N] how typical the series is of any class: what `reject_below` is compared with."""
    rejected: NDArray[np.bool_]
    """[N] whether `predict` answers `reject_label`."""


class DecidingModel(StoredModel):
    """Base of the classifier: the answers that follow from scores."""

    classes_: NDArray[Any]
    reject_below: float | None
    reject_label: int | str | None

    def _points(self, X: Any) -> Floats:  # noqa: ANN401, N803
        """z [N, C - 1] of features, what a backbone answers and its features [N, C + D] or [N, C + 1 + D]."""
        check_is_fitted(self)
        if isinstance(self.model_, FilterModel):
            return self.model_.class_scores(self._read(X), threads=number_of_threads(self.threads))
        return self.model_.described(self._read(X))

    def _scores_of(self, points: Floats) -> Floats:
        if isinstance(self.model_, FilterModel):
            return lifted_cosines(points, self._class_head().prototypes)
        return points[:, : len(self.classes_)]

    def _class_head(self) -> ClassHead:
        assert isinstance(self.model_, FilterModel)
        assert self.model_.classes is not None
        return self.model_.classes

    def confidence(self, X: Any) -> Floats:  # noqa: ANN401, N803
        """[N] how typical each series is of any class: what `reject_below` is compared with.

        Of features it is in (0, 1], by how the left-out points of the training series scatter around their prototypes:
        1 on a prototype, ½ at three deviations (`ssm_hpn.closed_form.typicality`). Of a backbone by how the features of
        the training series scatter around the mean of their class (`ssm_hpn.closed_form.feature_density`); of one that
        was stored by an older release, or of very few series, it is the largest score.
        """
        return self._confidence_of(self._points(X))

    def _confidence_of(self, points: Floats) -> Floats:
        if isinstance(self.model_, FilterModel):
            return self._class_head().confidence(points)
        return self.model_.confidence(points)

    def reject_threshold(self, keep: float = 0.95, X: Any = None) -> float:  # noqa: ANN401, N803
        """The `reject_below` at which this share of known series is answered: 0.95 rejects one of twenty falsely.

        It is that of the series X, which were not trained on; of features without X that of the training series, each
        left out of the fit that judges it.

        >>> import numpy as np
        >>> from ssm_hpn.estimators import SSMClassifier
        >>> random = np.random.default_rng(0)
        >>> labels = np.array(["calm", "wild"] * 20)
        >>> series = [random.normal(0, 1 if one == "calm" else 4, size=(30, 2)) for one in labels]
        >>> model = SSMClassifier(effort="fast", random_state=0).fit(series, labels)
        >>> model = model.set_params(reject_below=model.reject_threshold(keep=0.9))
        >>> model.predict([np.full((30, 2), 50.0)]).tolist()
        ['unknown']
        """
        check_is_fitted(self)
        share: Any = keep
        is_number = isinstance(share, int | float | np.number) and not isinstance(share, bool)
        if not is_number or not 0 < share <= 1:
            raise ConfigError(problem("keep", "a share above 0 and up to 1", shown(keep), "use 0.95 for 19 of 20"))
        if X is not None:
            return threshold_keeping(self.confidence(X), keep)
        if not isinstance(self.model_, FilterModel):
            expected = "X, series that the backbone was not trained on"
            raise ConfigError(problem("reject_threshold", expected, "none", "pass series of the known classes"))
        return self._class_head().reject_curve().threshold(answered=keep)

    def predict_proba(self, X: Any) -> Floats:  # noqa: ANN401, N803
        """[N, C] probabilities of the classes.

        The softmax of the scores times a scale that is fitted to series which no fit has seen: of features each
        training series, left out; of a backbone those that were held out (of fewer than 200 series without early
        stopping none are: the scale is then that of the training series, and may be too sure).
        """
        return self._probabilities_of(self._points(X))

    def _probabilities_of(self, points: Floats) -> Floats:
        if isinstance(self.model_, FilterModel):
            return self._class_head().probabilities(points)
        return self.model_.probabilities(self._scores_of(points))

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: ANN401, N803
        """[N] labels; `reject_label` where the confidence does not reach `reject_below`."""
        return self._labels_of(self._points(X))

    def decide(self, X: Any) -> Decision:  # noqa: ANN401, N803
        """The nearest class of each series, its probability and cosine, the confidence, and whether it is rejected.

        >>> import numpy as np
        >>> from ssm_hpn.estimators import SSMClassifier
        >>> random = np.random.default_rng(0)
        >>> labels = np.array(["calm", "wild"] * 20)
        >>> series = [random.normal(0, 1 if one == "calm" else 4, size=(30, 2)) for one in labels]
        >>> model = SSMClassifier(effort="fast", reject_below=0.5, random_state=0).fit(series, labels)
        >>> decision = model.decide([series[0], np.full((30, 2), 50.0)])
        >>> decision.label.tolist()[0], decision.rejected.tolist()
        ('calm', [False, True])
        """
        points = self._points(X)
        scores, confidence, bound = self._scores_of(points), self._confidence_of(points), self._reject_bound()
        best, rows = scores.argmax(axis=1), np.arange(len(scores))
        return Decision(
            label=self.classes_[best],
            probability=self._probabilities_of(points)[rows, best],
            cosine=np.full(len(rows), np.nan) if self._is_linear() else scores[rows, best],
            confidence=confidence,
            rejected=np.zeros(len(rows), bool) if bound is None else confidence < bound,
        )

    def _is_linear(self) -> bool:
        return isinstance(self.model_, Backbone) and self.model_.trainer.config.model.head.kind == "linear"

    def _answers_of(self, source: Source) -> NDArray[Any]:
        return self._labels_of(source.class_scores())

    def _labels_of(self, points: Floats) -> NDArray[Any]:
        labels = self.classes_[self._scores_of(points).argmax(axis=1)]
        if (bound := self._reject_bound()) is None:
            return np.asarray(labels)
        reject = np.asarray(self._reject_value(self.classes_))
        if labels.dtype.kind == "b" or (labels.dtype.kind in "US") != (reject.dtype.kind in "US"):
            labels = labels.astype(object)  # each prediction in the type of its label
        elif labels.dtype.kind != "O":
            common = np.result_type(labels, reject)  # a double for whole numbers with and without a sign
            labels = labels.astype(object if common.kind == "f" and labels.dtype.kind in "iu" else common)
        return np.where(self._confidence_of(points) < bound, reject.astype(labels.dtype), labels)

    def _reject_bound(self) -> float | None:
        given: Any = self.reject_below
        if given is not None and (not isinstance(given, int | float | np.number) or np.isnan(given)):
            raise ConfigError(
                problem("reject_below", "a number, or None", shown(given), "pass a confidence, such as 0.5")
            )
        return None if given is None else float(given)

    def _reject_value(self, classes: NDArray[Any]) -> int | str | bytes:
        label: int | str | bytes | None = self.reject_label
        kind, first = classes.dtype.kind, classes[0]
        if isinstance(first, bytes) and isinstance(label, str):
            label = label.encode()
        elif isinstance(first, str) and isinstance(label, bytes):
            label = text_of(label)
        elif label is None:
            label = -1 if kind in "iufb" else b"unknown" if kind == "S" else "unknown"
        if self._reject_bound() is not None and label in classes.tolist():
            raise ConfigError(problem("reject_label", "no label of y", repr(label), "choose another reject_label"))
        return label
