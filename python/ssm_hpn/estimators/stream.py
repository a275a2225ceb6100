"""Answers of a fitted estimator for series that are read step by step."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssm_hpn.arrays import describe, numbers
from ssm_hpn.contract import Contract
from ssm_hpn.counts import counted
from ssm_hpn.errors import ShapeError, problem
from ssm_hpn.learner import Learner
from ssm_hpn.pieces import Pieces
from ssm_hpn.texts import ByteChannels, texts_of

Floats = NDArray[np.float64]


class Source(Protocol):
    """What reads the steps of rows of series."""

    rows: int

    def read(self, x: Floats) -> None:
        """Read further steps x f64 [rows, T, F], NaN for a missing number."""

    def class_scores(self) -> Floats:
        """What the model has of classes for the steps so far, [rows, ...]."""

    def predicted(self) -> Floats:
        """The numbers [rows, K]."""

    def reset(self) -> None:
        """Go back to before the first step."""


class BackboneStream:
    """A backbone over rows of series, whose pooling is that of the steps so far."""

    def __init__(
        self, learner: Learner, contract: Contract, rows: int, in_order: Callable[[Floats], Floats] = lambda x: x
    ) -> None:
        self.rows, self._contract, self._in_order = rows, contract, in_order
        self._stream = learner.stream(rows)
        self._pieces: list[Pieces] = []
        self._scores: Floats | None = None
        self.reset()

    def read(self, x: Floats) -> None:
        """Read further steps x f64 [rows, T, F], NaN for a missing number."""
        if (infinite := np.isinf(x)).any():
            row, step, channel = (int(at[0]) for at in np.nonzero(infinite))
            where, expected = f"row {row}, step {step}, channel {channel}", "a finite number, or NaN for a missing one"
            raise ShapeError(problem(where, expected, "an infinite one", "correct it"))
        channels = [pieces.channels(part) for pieces, part in zip(self._pieces, x, strict=True)]
        self._scores = self._in_order(np.asarray(self._stream.prefill(np.stack(channels)), np.float64))

    def class_scores(self) -> Floats:
        """The scores, and behind them the features, [rows, C + K + D] after the last step."""
        return np.concatenate([self._answered(), self._stream.features()], axis=1, dtype=np.float64)

    def _answered(self) -> Floats:
        if self._scores is None:
            raise ShapeError(problem("stream", "a step", "none", "call step first"))
        return self._scores

    def predicted(self) -> Floats:
        """The numbers [rows, K]."""
        assert self._contract.scale is not None
        return self._answered()[:, -len(self._contract.scale.mean) :]

    def reset(self) -> None:
        """Go back to before the first step."""
        self._stream.reset()
        self._pieces = [Pieces(self._contract) for _ in range(self.rows)]
        self._scores = None


class Answering(Protocol):
    """A fitted estimator."""

    missing: str
    n_channels_: int
    contract_: Contract

    def _answers_of(self, source: Source) -> NDArray[Any]:
        """What `predict` answers, of a stream."""


class SequenceStream:
    """Rows of series that a fitted estimator reads step by step; it answers for the steps so far, in constant memory.

    Parameters
    ----------
    model
        The estimator: its `stream(rows)` makes this.

    Attributes
    ----------
    rows : number of series side by side.

    Examples
    --------
    >>> import numpy as np
    >>> from ssm_hpn.estimators import SSMClassifier
    >>> labels = np.array(["slow", "fast"] * 20)
    >>> random = np.random.default_rng(0)
    >>> series = [np.sin(np.arange(60) / (9 if one == "slow" else 3) + random.uniform(0, 6)) for one in labels]
    >>> model = SSMClassifier(effort="fast", causal=True, random_state=0).fit(series, labels)
    >>> stream = model.stream()
    >>> answers = [stream.step(x).item() for x in series[0]]
    >>> answers[-1], answers[-1] == model.predict(series[:1]).item()
    ('slow', True)
    >>> bool(np.allclose(stream.predict_proba(), model.predict_proba(series[:1]), atol=1e-4))
    True
    >>> stream.reset()
    >>> stream.prefill(series[1][None, :, None]).tolist(), stream.class_scores().shape
    (['fast'], (1, 2))
    """

    def __init__(self, model: Answering, source: Source) -> None:
        self._model, self._source = model, source
        self.rows = source.rows
        encoder = model.contract_.encoder
        self._bytes = ByteChannels.from_encoder(encoder) if "channels" in encoder else None

    def step(self, x: ArrayLike | str | bytes) -> NDArray[Any]:
        """Read a step [rows, F] of each series and answer as `predict`; [F] for one row, [rows] for one channel.

        A step of texts is a byte of each.
        """
        if self._bytes is not None:
            spelled = self._spelled(x, self._bytes)
            if spelled.shape[1] > 1:
                found, advice = counted(spelled.shape[1], "byte"), "read several by prefill"
                raise ShapeError(problem("x", "a byte of each text", found, advice))
            return self._read(spelled)
        steps = _values(x)
        rows, channels = self.rows, self._model.n_channels_
        if steps.shape != (rows, channels):
            if steps.size != rows * channels or steps.ndim > 1:
                raise ShapeError(problem("x", f"a step [{rows}, {channels}]", describe(steps), "make them fit"))
            if rows > 1 and channels > 1:
                found = f"[{len(steps)}]"
                raise ShapeError(problem("x", f"a step [{rows}, {channels}]", found, "give a row for each series"))
        return self._read(steps.reshape(rows, 1, channels))

    def prefill(self, x: ArrayLike | str | bytes) -> NDArray[Any]:
        """Read several steps [rows, T, F] of each series, and answer as `predict`.

        Of texts a list of as many bytes of each, or for one row a text.
        """
        if self._bytes is not None:
            return self._read(self._spelled(x, self._bytes))
        steps = _values(x)
        rows, channels = self.rows, self._model.n_channels_
        if steps.ndim != 3 or (steps.shape[0], steps.shape[2]) != (rows, channels) or not steps.shape[1]:
            expected = f"steps [{rows}, T, {channels}], T of 1 or more"
            raise ShapeError(problem("x", expected, describe(steps), "make them fit"))
        return self._read(steps)

    def _spelled(self, x: Any, spelling: ByteChannels) -> Floats:  # noqa: ANN401
        """Texts, one for each row, as steps [rows, T, F]."""
        texts = texts_of([x] if isinstance(x, str | bytes) else x)
        if texts is None:
            raise ShapeError(problem("x", "texts, as in fit", describe(x), "give a text for each row"))
        if len(texts) != self.rows or len(set(map(len, texts))) > 1:
            expected = f"{counted(self.rows, 'text')} of one number of bytes"
            found = f"{counted(len(texts), 'text')} of the lengths {', '.join(str(len(one)) for one in texts[:4])}"
            raise ShapeError(problem("x", expected, found, "read each by a stream of its own"))
        return np.stack(spelling.series(texts))

    def predict(self) -> NDArray[Any]:
        """[rows] labels, or numbers as the estimator's `predict` gives them."""
        return self._model._answers_of(self._source)  # noqa: SLF001 - of one whole with the estimators

    def class_scores(self) -> Floats:
        """[rows, C] as `SSMClassifier.class_scores`."""
        found: Floats = self._classifier("class_scores")._scores_of(self._source.class_scores())  # noqa: SLF001
        return found

    def predict_proba(self) -> Floats:
        """[rows, C] as `SSMClassifier.predict_proba`."""
        model = self._classifier("predict_proba")
        found: Floats = model._probabilities_of(self._source.class_scores())  # noqa: SLF001
        return found

    def predict_values(self) -> Floats:
        """[rows] numbers beside the classes, as `SSMClassifier.predict_values`."""
        self._classifier("predict_values")._check_values()  # noqa: SLF001
        return self._source.predicted()[:, 0]

    def reset(self) -> None:
        """Go back to before the first step, of all rows."""
        self._source.reset()

    def _read(self, x: Floats) -> NDArray[Any]:
        if self._model.missing == "refuse" and np.isnan(x).any():
            advice = "give the number, or fit with missing='mask', 'forward' or 'zero'"
            raise ShapeError(problem("x", "numbers, as missing='refuse'", "NaN", advice))
        self._source.read(x)
        return self.predict()

    def _classifier(self, name: str) -> Any:  # noqa: ANN401 - an SSMClassifier, which imports this module's user
        if hasattr(self._model, name):
            return self._model
        raise AttributeError(f"{name}: only the stream of a classifier has it")


def _values(x: ArrayLike) -> Floats:
    """Numbers f64 of steps, without a copy where they are that."""
    if isinstance(x, np.ndarray) and x.dtype == np.float64:
        return x
    return np.asarray(numbers(x, "x"), np.float64)
