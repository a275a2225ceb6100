"""A linear head on the features of `SSMClassifier`, to compare the prototype head with: softmax regression.

    L(W) = -Σ_i ln softmax(W'x_i + b)[y_i] + ‖W‖²/(2C)

on the standardised and weighed features x of the prototype head. Weights of least penalty lie in the span of the
training series: in orthonormal coordinates of it, of which there are no more than series, the regression is the same as
on the features. C has the least log loss in three folds, of `CHOOSING` series at most; where each class has a single
series it is `UNCHOSEN`.
"""

from __future__ import annotations

from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from quality.reading import Floats

STRENGTHS: Final = 10.0 ** np.arange(-1.0, 5.0)
"""C, for features of mean squared length 1."""
UNCHOSEN: Final = 100.0
CHOOSING: Final = 1_000
ROUNDING: Final = 1e-6
"""Of the largest eigenvalue: smaller ones are rounding of products in f32."""
Ints = NDArray[np.int64]
Matrix = NDArray[np.float32]


class SoftmaxRegression:
    """Softmax regression on features f32 [N, d], of which there are more than series."""

    def __init__(self, views: Any) -> None:
        self._views = views

    def fit(self, features: Matrix, codes: Ints) -> Self:
        """Fit to the classes 0 … C-1 [N]."""
        from ssm_hpn.closed_form import RidgeSettings
        from ssm_hpn.closed_form.columns import Standardisation
        from ssm_hpn.closed_form.simplex import simplex
        from ssm_hpn.closed_form.view_weights import feature_weights

        rows, ones = np.arange(len(features)), np.ones(len(features))
        targets, settings = simplex(int(codes.max()) + 1)[codes], RidgeSettings(views=self._views)
        omega = feature_weights(lambda some: [features[some]], rows, targets, ones, settings=settings, each=False)
        self._root = np.float32(1.0) if omega is None else np.sqrt(omega)
        self._standard = Standardisation.of(features, ones, clip=settings.clip)
        x = self._standard.apply(features) * self._root
        self._mean = x.mean(axis=0)
        self._x = x - self._mean
        gram = (self._x @ self._x.T).astype(np.float64)
        values, vectors = np.linalg.eigh(gram)
        kept = values > values.max() * ROUNDING
        self._basis = vectors[:, kept] / np.sqrt(values[kept]) / np.sqrt(values.sum() / len(x))
        train = gram @ self._basis
        self._model = _regression(chosen(train, codes)).fit(train, codes)
        return self

    def logits(self, features: Matrix) -> Floats:
        """[M, C]; of two classes the second has the positive half."""
        y = self._standard.apply(features) * self._root - self._mean
        found = np.asarray(self._model.decision_function((y @ self._x.T).astype(np.float64) @ self._basis))
        return np.stack([-found / 2, found / 2], axis=1) if found.ndim == 1 else found


def chosen(coordinates: Floats, codes: Ints) -> float:
    """The C of least log loss."""
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    some = np.sort(np.random.default_rng(0).permutation(len(codes))[:CHOOSING])
    counts = np.bincount(codes[some])
    if counts.max() < 2:
        return UNCHOSEN
    folds = StratifiedKFold(int(np.clip(counts[counts > 0].min(), 2, 3)), shuffle=True, random_state=0)
    scores = [
        cross_val_score(_regression(one), coordinates[some], codes[some], cv=folds, scoring=_log_score).mean()
        for one in STRENGTHS
    ]
    return float(STRENGTHS[int(np.argmax(scores))])


def _regression(strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=300, tol=1e-3)


def _log_score(model: Any, x: Floats, codes: Ints) -> float:
    """Minus the log loss; a class that the training folds lack has a probability of a millionth."""
    p = np.full((len(x), int(max(codes.max(), model.classes_.max())) + 1), 1e-6)
    p[:, model.classes_] = np.maximum(model.predict_proba(x), 1e-6)
    return float(np.log(p[np.arange(len(x)), codes]).mean())


class LinearHead:
    """Labels of series by softmax regression on the features of fixed state space filters."""

    def __init__(self, *, random_state: int, threads: int) -> None:
        self._seed, self._threads = random_state, threads

    def fit(self, series: Any, labels: Any) -> Self:
        """Fit to series [T, F] and a label each."""
        from ssm_hpn.state_features import StateFeatures

        self.classes_, codes = np.unique(labels, return_inverse=True)
        self._bank = StateFeatures.fit(list(series), seed=self._seed, threads=self._threads)
        features = self._bank.transform(list(series), threads=self._threads)
        self._head = SoftmaxRegression(self._bank.views).fit(features, codes.astype(np.int64))
        return self

    def predict(self, series: Any) -> Any:
        """The label of the largest logit."""
        features = self._bank.transform(list(series), threads=self._threads)
        return self.classes_[self._head.logits(features).argmax(axis=1)]
