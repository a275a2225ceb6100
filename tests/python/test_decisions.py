"""decisions.json: which series are in it, what is said of them, its size; the pictures of the report; damaged files."""

import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from ssm_hpn.decisions import (
    FILE,
    MOST_POINTS,
    Answers,
    Shown,
    decisions_of,
    outline,
    read_decisions,
    summed,
    write_decisions,
)
from ssm_hpn.errors import DataError
from ssm_hpn.plots import moving_mean
from ssm_hpn.report import write_report
from test_report import Strict, a_run


def answers_of(labels, n_classes, *, seed=0, size=0.4):
    """Scores whose largest one is mostly that of the label, and their softmax."""
    scores = np.random.default_rng(seed).normal(size=(len(labels), n_classes)) * size
    scores[np.arange(len(labels)), labels] += 0.7
    powers = np.exp(4 * scores)
    return Answers(np.asarray(labels), scores, powers / powers.sum(axis=1, keepdims=True))


def look_at(lengths, n_channels, n_classes, *, evidence=True):
    """Series with a gap, the place being their number."""

    def look(places):
        found = []
        for place in places:
            random = np.random.default_rng(place)
            values = random.normal(size=(lengths[place], n_channels)).cumsum(axis=0)
            values[2:4] = np.nan
            shares = random.normal(size=(len(values), n_classes)) if evidence else None
            found.append(Shown(f"series {place} <&>", values, shares))
        return found

    return look


def some_decisions(n_classes=3, n=60, n_channels=2, longest=80, *, evidence=True, step=None):
    labels = np.arange(n) % n_classes
    lengths = np.random.default_rng(1).integers(5, longest, size=n)
    return decisions_of(
        answers_of(labels, n_classes),
        look_at(lengths, n_channels, n_classes, evidence=evidence),
        classes=[f"class {k}" for k in range(n_classes)],
        channels=[f"x{k}" for k in range(n_channels)],
        step=step,
        note=None if evidence else "Nothing tells where.",
    )


def test_mistakes_are_those_whose_own_class_was_least_probable():
    labels = np.array([0, 1, 0, 1, 0])
    p = np.array([0.9, 0.8, 0.3, 0.6, 0.45])  # of class 0
    scores = np.column_stack([p, 1 - p])
    found = decisions_of(Answers(labels, scores, scores), look_at([9] * 5, 1, 2), classes=["a", "b"], channels=["x"])
    assert [one.name.split()[1] for one in found.mistakes] == ["1", "2", "3", "4"]
    first = found.mistakes[0]
    assert (first.label, first.predicted, first.against) == (1, 0, 1)
    assert (first.probability, first.probability_of_label) == (0.8, 0.2)
    assert [(one.name.split()[1], one.label, one.predicted, one.against) for one in found.typical] == [("0", 0, 0, 1)]
    assert (found.count, found.right, found.out_of) == (5, 1, 5)


def test_evidence_is_that_of_the_predicted_class_and_the_one_beside_it():
    shares = np.arange(12.0).reshape(4, 3)
    scores = np.array([[0.1, 0.5, 0.9], [0.9, 0.2, 0.3]])
    answers = Answers(np.array([0, 0]), scores, scores / scores.sum(axis=1, keepdims=True))
    shown = Shown("s", np.zeros((4, 1)), shares)
    found = decisions_of(answers, lambda places: [shown for _ in places], classes=["a", "b", "c"], channels=["x"])
    (mistake,), (right,) = found.mistakes, found.typical
    assert (mistake.evidence, mistake.evidence_against) == (tuple(shares[:, 2]), tuple(shares[:, 0]))
    assert (right.evidence, right.evidence_against) == (tuple(shares[:, 0]), tuple(shares[:, 2]))


def test_calibration_is_that_of_the_formulas():
    p = np.array([[0.95, 0.05], [0.92, 0.08], [0.55, 0.45], [1.0, 0.0]])
    labels = np.array([0, 1, 0, 0])
    found = decisions_of(Answers(labels, p, p), None, classes=["a", "b"]).calibration
    counts = [one.count for one in found.bins]
    assert counts == [0, 0, 0, 0, 0, 1, 0, 0, 0, 3]
    last = found.bins[-1]
    assert (last.probability, last.accuracy) == (round(2.87 / 3, 5), round(2 / 3, 5))
    assert found.expected_error == pytest.approx(0.75 * abs(2 / 3 - 2.87 / 3) + 0.25 * 0.45, abs=1e-5)
    one_hot = np.eye(2)[labels]
    assert found.brier == pytest.approx(((p - one_hot) ** 2).sum(axis=1).mean(), abs=1e-5)
    assert found.log_loss == pytest.approx(-np.log([0.95, 0.08, 0.55, 1.0]).mean(), abs=1e-5)


def test_the_reject_curve_answers_the_best_scores_first():
    scores = np.array([[0.9, 0.1], [0.2, 0.6], [0.5, 0.4], [0.5, 0.3]])
    found = decisions_of(Answers(np.array([0, 1, 1, 0]), scores, scores / 2), None, classes=["a", "b"]).reject
    assert found.thresholds == (0.5, 0.6, 0.9)
    assert found.answered == (1.0, 0.5, 0.25)
    assert found.accuracy == (0.75, 1.0, 1.0)


@pytest.mark.parametrize(("n_classes", "n", "n_channels", "longest"), [(2, 4000, 9, 6000), (30, 4000, 5, 3000)])
def test_the_file_is_bounded(n_classes, n, n_channels, longest, tmp_path):
    found = some_decisions(n_classes, n, n_channels, longest)
    write_decisions(tmp_path, found)
    assert (tmp_path / FILE).stat().st_size < 400_000
    assert (len(found.mistakes), len(found.typical)) == (12, min(n_classes, 8))
    assert len(found.reject.thresholds) == 101
    assert found.reject.answered[0] == 1.0
    for one in found.pictures:
        assert len(one.channels) == 4
        assert one.n_channels == n_channels
        assert all(len(channel.values) <= MOST_POINTS for channel in one.channels)
        assert len(one.evidence) == min(one.steps, MOST_POINTS)
    assert read_decisions(tmp_path) == found


def test_a_long_series_keeps_its_peaks_and_the_sum_of_its_evidence():
    series = np.zeros(10_000)
    series[[1234, 7777]] = 5.0, -3.0
    found = outline(series)
    assert (len(found), found.max(), found.min()) == (MOST_POINTS, 5.0, -3.0)
    assert abs(found.argmax() / len(found) - 0.1234) < 0.01
    series[100:900] = np.nan
    found = outline(series)
    assert np.isnan(found).sum() in range(16, 24)
    shares = np.random.default_rng(0).normal(size=10_001)
    assert len(summed(shares)) == MOST_POINTS
    assert summed(shares).sum() == pytest.approx(shares.sum())


def test_scores_that_are_not_finite_are_refused():
    scores = np.array([[0.5, 0.5], [np.nan, 0.5]])
    with pytest.raises(DataError, match="scores: expected finite numbers, found others for series 1"):
        decisions_of(Answers(np.array([0, 1]), scores, scores), None, classes=["a", "b"])


# ---- the page


@pytest.mark.parametrize("n_classes", [2, 30])
def test_the_report_draws_mistakes_calibration_and_rejection(n_classes, tmp_path):
    run = a_run(tmp_path / "run")
    without = write_report(run).read_bytes()
    write_decisions(run, some_decisions(n_classes, n_channels=3))
    text = write_report(run).read_text(encoding="utf-8")
    page = Strict(text)
    words = " ".join(page.words)
    for expected in ("The worst mistakes", "taken for class", "Typical series", "Calibration", "reject_below", "step"):
        assert expected in words
    assert "series 0 <&>" not in text
    assert not page.references
    drawings = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    for drawing in drawings:
        ET.fromstring(drawing)
        assert "nan" not in drawing
    assert write_report(run).read_text(encoding="utf-8") == text
    (run / FILE).unlink()
    assert write_report(run).read_bytes() == without


def test_the_report_says_why_there_is_no_evidence(tmp_path):
    run = a_run(tmp_path / "run")
    write_decisions(run, some_decisions(evidence=False))
    text = write_report(run).read_text(encoding="utf-8")
    assert "Nothing tells where." in text
    assert "full colour" not in text


@pytest.mark.usefixtures("drawings")
def test_series_of_odd_shapes_are_drawn(tmp_path):
    run = a_run(tmp_path / "run")
    shapes = [np.zeros((1, 1)), np.full((7, 1), np.nan), np.full((3, 1), 1e12), np.array([[1.0], [np.nan], [2.0]])]
    labels, scores = np.zeros(4, np.int64), np.tile([0.1, 0.9], (4, 1))

    def look(places):
        return [Shown("odd", shapes[place], np.zeros((len(shapes[place]), 2))) for place in places]

    write_decisions(run, decisions_of(Answers(labels, scores, scores), look, classes=["a", "<b>\n"], channels=["x"]))
    text = write_report(run).read_text(encoding="utf-8")
    assert "&lt;b&gt;\\n" in text
    assert "<b>" not in text
    assert text.count("odd</figcaption>") + text.count(">odd <span>") == 4
    for drawing in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ET.fromstring(drawing)
        assert "nan" not in drawing


def test_a_model_without_mistakes_has_an_accuracy_of_100_percent(tmp_path):
    run = a_run(tmp_path / "run")
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    write_decisions(run, decisions_of(Answers(np.array([0, 1, 0]), scores, scores), None, classes=["a", "b"]))
    words = Strict(write_report(run).read_text(encoding="utf-8")).words
    assert "Mistakes" in words
    assert "0 mistakes among 3 held-out series." in words
    assert "150 %" not in words


def test_decisions_of_another_update_are_not_shown(tmp_path):
    run = a_run(tmp_path / "run")
    write_decisions(run, some_decisions(step=20))
    assert "The worst mistakes" not in write_report(run).read_text(encoding="utf-8")
    write_decisions(run, some_decisions(step=100))
    assert "The worst mistakes" in write_report(run).read_text(encoding="utf-8")


def damaged(change):
    """The JSON of decisions after a change in place."""
    found = json.loads(some_decisions().model_dump_json())
    change(found)
    return json.dumps(found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected JSON, found EOF while parsing a value at line 1 column 0; restore or remove it"),
        ('{"version": 1,', "expected JSON, found EOF while parsing"),
        ("[" * 100_000, "expected JSON, found"),
        ("[]", "expected an object, found \\[\\]; restore or remove it"),
        ("{}", "step: expected this entry, found none; restore or remove it"),
        (damaged(lambda found: found.update(version=7)), "version: expected 1, found 7"),
        (damaged(lambda found: found.update(right=10**6)), "right <= count <= out_of"),
        (damaged(lambda found: found.update(more=1)), "more: expected no such entry, found one"),
        (damaged(lambda found: found["mistakes"][0].update(label=9)), "classes below 3"),
        (damaged(lambda found: found["mistakes"][0].update(label="a")), r"mistakes.0.label: expected a whole number"),
        (damaged(lambda found: found["mistakes"][0]["evidence"].pop()), "evidence of both classes at the same steps"),
        (damaged(lambda found: found["reject"]["accuracy"].pop()), "as many shares and accuracies"),
        (damaged(lambda found: found["mistakes"][0]["evidence"].append(float("nan"))), "expected"),
    ],
)
def test_a_damaged_file_is_one_clear_line(text, expected, tmp_path):
    run = a_run(tmp_path / "run")
    (run / FILE).write_text(text)
    with pytest.raises(DataError, match=expected) as caught:
        write_report(run)
    message = str(caught.value)
    assert message.startswith(str(run / FILE))
    assert "\n" not in message
    assert len(message) < 400


def test_the_strip_shows_the_mean_evidence_around_each_cell():
    random = np.random.default_rng(0)
    values = random.normal(size=160).tolist()
    found, width = moving_mean(values)
    assert width == 7
    kernel = np.ones(7)
    expected = np.convolve(values, kernel, "same") / np.convolve(np.ones(160), kernel, "same")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert moving_mean(values[:30]) == (values[:30], 1)


def test_the_report_tells_the_calibration_before_and_after(tmp_path):
    labels, scores = np.array([0, 1, 0, 0]), np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.4, 0.6]])
    found = decisions_of(
        Answers(labels, scores, scores, before=np.eye(2)[scores.argmax(axis=1)], fitted_here=True),
        None,
        classes=["a", "b"],
    )
    assert found.calibration.before == 0.25  # always sure, and right three times of four
    assert found.calibration.expected_error == pytest.approx((0.1 + 0.2 + 2 * 0.1) / 4)
    run = a_run(tmp_path / "run")
    write_decisions(run, found)
    text = write_report(run).read_text(encoding="utf-8")
    assert "(25.0 % before the temperature was fitted to these series)" in text


def test_the_reject_curve_is_by_the_confidence_where_there_is_one():
    scores = np.array([[0.9, 0.1], [0.2, 0.8]])
    found = decisions_of(Answers(np.array([0, 0]), scores, scores, np.array([0.1, 0.7])), None, classes=["a", "b"])
    assert found.reject.thresholds == (0.1, 0.7)
    assert found.reject.accuracy == (0.5, 0.0)
