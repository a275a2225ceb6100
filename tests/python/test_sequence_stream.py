"""Series read step by step: after every step the answers of the estimator for the steps so far."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from ssm_hpn.errors import ConfigError, ShapeError
from ssm_hpn.estimators import SSMClassifier, SSMRegressor, StateSpaceFeatures
from ssm_hpn.filter_model import FilterModel
from ssm_hpn.filter_stream import FilterStream

STEPS, CHANNELS = 45, 2
CHECKED = (1, 2, 8, 32, 33, 45)
"""Steps after which answers are compared: the first, a missing one, the end of a tile."""
FEATURES = {"effort": "fast", "causal": True, "random_state": 0}
BACKBONE = {"kind": "backbone", "d_model": 8, "n_layers": 1, "d_state": 4, "steps": 20, "random_state": 0}


def gapped(count, seed=0):
    """Series [N, T, F] of three classes with missing numbers, one at the first step and one missing step among them."""
    random = np.random.default_rng(seed)
    classes = np.arange(count) % 3
    t = np.arange(STEPS) / np.array([2.0, 4.0, 8.0])[classes][:, None]
    clean = np.stack([np.sin(t), np.cos(t)], axis=2) * 3 + 5
    x = clean + random.normal(0, 0.3, clean.shape)
    x[random.random(x.shape) < 0.1] = np.nan
    x[:, 0, 0], x[:, 7] = np.nan, np.nan
    return x, classes


X, Y = gapped(24)
NEW, _ = gapped(4, seed=1)


@pytest.mark.filterwarnings("ignore:X")
@pytest.mark.parametrize("missing", ["mask", "forward", "zero"])
@pytest.mark.parametrize(
    "settings", [FEATURES, BACKBONE, BACKBONE | {"pooling": "max"}, BACKBONE | {"pooling": "last"}]
)
def test_every_answer_is_that_for_the_steps_so_far(settings, missing):
    model = SSMClassifier(**settings, missing=missing, reject_below=0.2).fit(list(X), Y)
    stream = model.stream(rows=len(NEW))
    for t in range(1, STEPS + 1):
        labels, so_far = stream.step(NEW[:, t - 1]), NEW[:, :t]
        if t not in CHECKED:
            continue
        expected = model.class_scores(so_far)
        np.testing.assert_allclose(stream.class_scores(), expected, atol=2e-5)
        np.testing.assert_allclose(stream.predict_proba(), model.predict_proba(so_far), atol=1e-4)
        clear = np.abs(expected.max(axis=1) - 0.2) > 1e-3
        np.testing.assert_array_equal(labels[clear], model.predict(so_far)[clear])


@pytest.mark.filterwarnings("ignore:X")
def test_steps_may_come_in_pieces_and_a_reset_forgets_them():
    for settings in (FEATURES, BACKBONE):
        model = SSMClassifier(**settings).fit(list(X), Y)
        stream, other = model.stream(rows=4), model.stream(rows=4)
        other.prefill(NEW[::-1])
        other.reset()
        for x in np.split(NEW, [1, 8, 9], axis=1):
            other.prefill(x)
        stream.prefill(NEW)
        np.testing.assert_allclose(other.class_scores(), stream.class_scores(), atol=1e-6)
        alone = model.stream()
        for step in NEW[2]:
            alone.step(step)
        np.testing.assert_allclose(alone.class_scores()[0], stream.class_scores()[2], atol=1e-6)


@pytest.mark.filterwarnings("ignore:X")
def test_numbers_are_streamed_too():
    numbers = np.nanmean(X, axis=1) * 100
    numbers[::5, 1] = np.nan  # the two are known for other series, and fitted apart
    for settings in (FEATURES, BACKBONE):
        model = SSMRegressor(**settings).fit(list(X), numbers)
        stream = model.stream(rows=4)
        for t in range(1, STEPS + 1):
            found = stream.step(NEW[:, t - 1])
            if t in CHECKED:
                np.testing.assert_allclose(found, model.predict(NEW[:, :t]), rtol=1e-5, atol=1e-2)
        with pytest.raises(AttributeError, match=r"^class_scores: only the stream of a classifier has it$"):
            stream.class_scores()
        both = SSMClassifier(**settings).fit(list(X), Y, values=numbers[:, 0])
        stream = both.stream(rows=4)
        stream.prefill(NEW)
        np.testing.assert_allclose(stream.predict_values(), both.predict_values(NEW), rtol=1e-5, atol=1e-2)


def test_features_of_prefixes_have_the_bits_of_the_transformer():
    features = StateSpaceFeatures(**FEATURES).fit(list(X))
    stream = features.bank_.stream(rows=4)
    for t in range(1, STEPS + 1):
        stream.step(NEW[:, t - 1])
        if t in CHECKED:
            np.testing.assert_array_equal(stream.features(), features.transform(NEW[:, :t]))


@pytest.mark.filterwarnings("ignore:X")
def test_a_model_of_a_checkpoint_is_streamed(tmp_path):
    model = SSMClassifier(**FEATURES).fit(list(X), Y)
    loaded = FilterModel.load(model.model_.save(tmp_path / "fitted")).model
    stream = FilterStream(loaded, rows=4)
    for t in range(1, STEPS + 1):
        stream.read(NEW[:, t - 1 : t])
        z = stream.class_scores()
        if t in CHECKED:
            np.testing.assert_allclose(loaded.classes.probabilities(z), model.predict_proba(NEW[:, :t]), atol=1e-4)
    labels = [loaded.contract.classes.value(int(k)) for k in loaded.classes.classes(z)]
    assert labels == model.predict(NEW).tolist()


def one_line(call, *words):
    """Calls, and checks that the error is one line with these words."""
    with pytest.raises((ConfigError, ShapeError)) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_what_cannot_be_streamed_is_refused_in_one_line():
    x = np.nan_to_num(X)
    one_line(SSMClassifier(effort="fast", random_state=0).fit(x, Y).stream, "stream", "causal=True")
    one_line(StateSpaceFeatures(effort="fast").fit(x).bank_.stream, "stream", "causal=True")
    one_line(lambda: SSMClassifier(**BACKBONE, causal=True).fit(x, Y), "causal", "kind='features'")
    one_line(lambda: SSMClassifier(causal="yes").fit(x, Y), "causal", "True or False")
    model = SSMClassifier(**FEATURES, missing="refuse").fit(x, Y)
    one_line(lambda: model.stream(rows=0), "rows", "1")
    for stream in (model.stream(rows=2), SSMClassifier(**BACKBONE).fit(x, Y).stream(rows=2)):
        one_line(lambda stream=stream: stream.step([1.0, 2.0, 3.0]), "[2, 2]")
        one_line(lambda stream=stream: stream.step(np.zeros(4)), "[2, 2]")
        one_line(lambda stream=stream: stream.step(np.zeros((2, 3))), "[2, 2]")
        one_line(lambda stream=stream: stream.prefill(np.zeros((2, 0, 2))), "[2, T, 2]")
        one_line(lambda stream=stream: stream.step([[1.0, np.inf], [0.0, 0.0]]), "row 0, step 0, channel 1")
    one_line(lambda: model.stream(rows=2).step([[1.0, np.nan], [0.0, 0.0]]), "missing='refuse'")


def test_a_step_of_one_row_or_one_channel_may_be_a_list():
    x, y = np.nan_to_num(X[:, :, :1]), Y
    model = SSMClassifier(**FEATURES).fit(x, y)
    one, two = model.stream(), model.stream(rows=2)
    for value in x[0, :, 0]:
        label, labels = one.step([value]), two.step([value, value])
    assert labels.tolist() == [label.item()] * 2 == model.predict(x[:1]).tolist() * 2


@pytest.mark.filterwarnings("ignore:X")
def test_before_the_first_step_there_is_no_answer():
    numbers = np.arange(len(X), dtype=float)
    for settings in (FEATURES, BACKBONE):
        model = SSMClassifier(**settings).fit(list(X), Y)
        for stream, answers in (
            (model.stream(), ("predict", "predict_proba", "class_scores")),
            (SSMRegressor(**settings).fit(list(X), numbers).stream(), ("predict",)),
        ):
            for forgotten in (False, True):
                if forgotten:
                    stream.step(NEW[0, 0])
                    stream.reset()
                for name in answers:
                    with pytest.raises(ShapeError, match="stream: expected a step, found none; call step first"):
                        getattr(stream, name)()
