"""Parts of the training loop without a model: when something is due, early stopping, metrics, the metrics file."""

import json
from itertools import pairwise
from math import inf, log, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssm_hpn import Trainer
from ssm_hpn.cadence import Progress, crossed, due
from ssm_hpn.columns import PartSizes
from ssm_hpn.config import DataShape, EvaluationConfig, parse, resolve
from ssm_hpn.early_stopping import Judgement, exhausted, judge
from ssm_hpn.errors import ConfigError, StorageError
from ssm_hpn.evaluation import deciding_metric
from ssm_hpn.metrics import empty_totals, metrics_of, with_bytes
from ssm_hpn.metrics_log import MetricsLog, encode, read_rows, row_keys
from ssm_hpn.targets import KINDS
from support import settings, text_data

BYTES = DataShape(vocab_size=256)


# ---- when something is due


@given(st.integers(1, 50), st.lists(st.integers(0, 7), min_size=1, max_size=60))
def test_every_multiple_fires_once_wherever_training_is_interrupted(every, strides):
    """What is due depends only on the progress at the previous check and now."""
    points = [0]
    for stride in strides:
        points.append(points[-1] + stride)
    fired = sum(crossed(every, before, after) for before, after in pairwise(points))
    reached = {point // every for point in points} - {0}
    assert fired == len(reached)


def test_steps_epochs_and_seconds_are_measured_in_their_units():
    before, after = Progress(99, 0.9, 59.0), Progress(100, 1.1, 59.5)
    assert due(EvaluationConfig(every=100, unit="steps"), before, after)
    assert due(EvaluationConfig(every=1, unit="epochs"), before, after)
    assert not due(EvaluationConfig(every=60, unit="seconds"), before, after)
    assert not due(EvaluationConfig(every=0.4, unit="epochs"), after, after)


# ---- early stopping


def test_smaller_or_larger_is_better_by_at_least_the_smallest_change():
    state, better = judge(Judgement(), 1.0, 0, direction="min", min_change=0.1)
    assert (better, state) == (True, Judgement(1.0, 0, 0))
    state, better = judge(state, 0.95, 10, direction="min", min_change=0.1)
    assert (better, state) == (False, Judgement(1.0, 0, 1))
    state, better = judge(state, 0.85, 20, direction="min", min_change=0.1)
    assert (better, state) == (True, Judgement(0.85, 20, 0))
    assert judge(Judgement(0.5, 0, 0), 0.6, 1, direction="max", min_change=0)[1]
    assert not judge(Judgement(0.5, 0, 0), 0.5, 1, direction="max", min_change=0)[1]


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_a_value_that_is_not_finite_is_never_better(value):
    state, better = judge(Judgement(), value, 3, direction="min", min_change=0)
    assert (better, state) == (False, Judgement(None, None, 1))


def test_patience_counts_evaluations_without_improvement():
    state = Judgement(1.0, 0, 0)
    for _ in range(3):
        assert not exhausted(state, 3)
        state, _ = judge(state, 2.0, 0, direction="min", min_change=0)
    assert exhausted(state, 3)
    assert not exhausted(state, None)


@given(st.lists(st.floats(-5, 5), max_size=30), st.integers(0, 30), st.floats(0, 1))
def test_a_judgement_is_saved_and_restored_at_any_evaluation(values, cut, min_change):
    def run(start, some):
        state = start
        for step, value in some:
            state, _ = judge(state, value, step, direction="max", min_change=min_change)
        return state

    numbered = list(enumerate(values))
    half = run(Judgement(), numbered[:cut])
    again = Judgement(*json.loads(json.dumps(list(half))))
    assert run(again, numbered[cut:]) == run(Judgement(), numbered)


# ---- metrics


def report(loss, count, *, predicted=(), expected=()):
    predicted, expected = np.array(predicted, np.int64), np.array(expected, np.int64)
    return {
        "loss": loss / max(count, 1),
        "loss_sum": loss,
        "count": count,
        "scored": len(expected),
        "correct": int((predicted == expected).sum()),
        "squared_error": 0.0,
        "absolute_error": 0.0,
        "predicted": predicted,
        "expected": expected,
    }


def values(model, *reports):
    totals = empty_totals(model)
    for one in reports:
        totals.add(one)
    return {metric.name: metric.value(totals) for metric in metrics_of(model)}, totals


def test_a_language_model_has_bits_only_where_its_loss_is_a_cross_entropy():
    model = resolve(parse({}), BYTES).model
    found, _ = values(model, report(6.0, 3, predicted=[1, 2, 3], expected=[1, 2, 0]), report(2.0, 1))
    assert tuple(found) == KINDS["next_token"].metrics
    assert (found["loss"], found["accuracy"], found["bits_per_token"]) == (2.0, 2 / 3, 2.0 / log(2))
    cosine = resolve(parse({"model": {"head": {"loss": {"kind": "cosine"}}}}), BYTES).model
    names = [metric.name for metric in metrics_of(cosine)]
    assert "accuracy" in names
    assert "bits_per_token" not in names
    linear = resolve(parse({"model": {"head": {"kind": "linear"}}}), BYTES).model
    assert "bits_per_token" in [metric.name for metric in metrics_of(linear)]


def test_macro_f1_and_confusion_of_a_hand_made_case():
    model = resolve(parse({}), DataShape(n_features=2, n_classes=4, columns=frozenset({"label"}))).model
    expected, predicted = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2]
    found, totals = values(
        model,
        report(1.0, 4, predicted=predicted[:4], expected=expected[:4]),
        report(1.0, 2, predicted=predicted[4:], expected=expected[4:]),
    )
    # class 0: 2·2/(2·2+0+1) = 0.8 ; class 1: 2/(2+1+1) = 0.5 ; class 2: 2/(2+1+0) = 2/3 ; class 3 never occurs
    assert found["f1"] == pytest.approx((0.8 + 0.5 + 2 / 3) / 3)
    assert found["error"] == pytest.approx(1 - 4 / 6)
    assert totals.confusion.tolist() == [[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]


def test_errors_of_several_numbers_are_those_of_each():
    model = resolve(parse({}), DataShape(n_features=2, n_values=2, columns=frozenset({"values"}))).model
    expected = np.array([[0.0, 1.0], [2.0, 5.0], [4.0, np.nan]])
    errors = np.array([[1.0, -1.0], [2.0, 0.0], [0.0, 3.0]])  # 3.0 belongs to the missing number and is left out
    one = report(6.0, 6) | {"predicted_values": expected + errors, "expected_values": expected}
    one["predicted_values"][2, 1] = 3.0
    found, totals = values(model, one)
    # Sums of squares 5 and 1, and around their means: 8 for 0, 2, 4 and 8 for 1, 5.
    assert (found["loss"], found["r2"]) == pytest.approx((1.0, (1 - 5 / 8 + 1 - 1 / 8) / 2))
    assert not {"mse", "rmse", "mae"} & set(found)
    first, second = totals.numbers.per_number()
    assert first == pytest.approx({"mae": 1.0, "rmse": (5 / 3) ** 0.5, "r2": 1 - 5 / 8})
    assert second == pytest.approx({"mae": 0.5, "rmse": 0.5**0.5, "r2": 1 - 1 / 8})
    shape = DataShape(n_features=2, n_values=3, columns=frozenset({"values"}))
    trainer = Trainer(resolve(parse({"model": {"d_model": 8, "n_layers": 1}}), shape))
    rng = np.random.default_rng(0)
    y = rng.normal(size=(5, 3)).astype(np.float32)
    batch = {"features": rng.normal(size=(5, 7, 2)).astype(np.float32), "sequence_values": y}
    errors = trainer.predict(batch) - y
    found = trainer.evaluate([batch])
    assert "r2" in found.values
    assert not {"mse", "rmse", "mae"} & set(found.values)
    assert found.values["loss"] == pytest.approx(np.square(errors).mean(), rel=1e-5)
    mae = [one["mae"] for one in found.totals.numbers.per_number()]
    np.testing.assert_allclose(mae, np.abs(errors).mean(axis=0), rtol=1e-5)


def test_without_targets_there_is_no_number():
    model = resolve(parse({}), BYTES).model
    found, _ = values(model)
    assert all(np.isnan(value) for value in found.values())


def test_the_deciding_metric_is_one_of_the_task_with_its_direction():
    model = resolve(parse({}), BYTES).model
    metric, direction = deciding_metric(EvaluationConfig(metric="eval/accuracy"), model)
    assert (metric.name, direction) == ("accuracy", "max")
    assert deciding_metric(EvaluationConfig(metric="accuracy", direction="min"), model)[1] == "min"
    with pytest.raises(ConfigError, match="did you mean accuracy"):
        deciding_metric(EvaluationConfig(metric="acuracy"), model)


# ---- the metrics file

KEYS = row_keys(eval_metrics=["loss", "accuracy"], classes=True, prototypes=True)


def full_row(step, **changes):
    row = dict.fromkeys(KEYS, 1) | {"step": step}
    del row["schema"], row["nonfinite"]
    return row | changes


def test_floats_keep_their_type_and_values_that_are_not_finite_are_counted():
    line = encode(full_row(3, **{"train/loss": nan, "eval/loss": inf, "eval/accuracy": None}), KEYS)
    row = json.loads(line)
    assert list(row) == list(KEYS)
    assert (row["train/loss"], row["eval/loss"], row["eval/accuracy"], row["nonfinite"]) == (None, None, None, 2)
    assert isinstance(row["train/lr"], float)
    assert '"train/lr": 1.0' in line
    assert '"step": 3,' in line
    with pytest.raises(ValueError, match="train/los"):
        encode({"train/los": 1.0}, KEYS)


def test_rows_have_only_the_keys_of_the_task():
    keys = row_keys(eval_metrics=["mse"], classes=False, prototypes=False)
    assert "train/accuracy" not in keys
    assert "head/max_prototype_cosine" not in keys
    assert "eval/mse" in keys


def test_on_resume_the_file_is_cut_back_to_the_offset(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, KEYS)
    log.append(full_row(0))
    log.append(full_row(1))
    offset = log.sync()
    log.append(full_row(2))
    log.close()
    with path.open("ab") as file:
        file.write(b'{"schema": 1, "st')
    log = MetricsLog(path, KEYS, offset=offset)
    assert log.offset == offset
    log.append(full_row(7))
    log.close()
    assert [row["step"] for row in read_rows(path)] == [0, 1, 7]


def test_a_file_shorter_than_the_offset_keeps_its_whole_lines(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, KEYS)
    log.append(full_row(0))
    log.append(full_row(1))
    offset = log.offset
    log.close()
    path.write_bytes(path.read_bytes()[:-9])
    log = MetricsLog(path, KEYS, offset=offset)
    log.append(full_row(5))
    log.close()
    assert [row["step"] for row in read_rows(path)] == [0, 5]
    path.unlink()
    MetricsLog(path, KEYS, offset=offset).close()
    assert read_rows(path) == []


def test_a_file_with_other_keys_is_refused(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, KEYS[:-1])
    log.append({key: 1 for key in KEYS[1:-1] if key != "nonfinite"})
    log.close()
    with pytest.raises(ConfigError, match="data/tokens_seen"):
        MetricsLog(path, KEYS, offset=10)


def test_a_failed_write_or_read_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="cannot write the metrics"):
        MetricsLog(tmp_path / "no" / "metrics.jsonl", KEYS)
    with pytest.raises(StorageError, match="cannot read the metrics"):
        read_rows(tmp_path / "none.jsonl")
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"schema": 1, "step": 0}\nnonsense\n')
    with pytest.raises(StorageError, match=r"broken\.jsonl:2"):
        read_rows(broken)


def test_each_reader_of_held_out_data_begins_at_its_beginning(tmp_path):
    trainer = Trainer(settings(text_data(tmp_path, documents=12), tmp_path / "run"))
    alone = [batch.tokens for batch in trainer.held_out(3)]
    one, two = trainer.held_out(3), trainer.held_out(3)
    pairs = [(first.tokens, next(two).tokens) for first in one]
    assert len(alone) == len(pairs) == 3
    for expected, both in zip(alone, pairs, strict=True):
        for found in both:
            np.testing.assert_array_equal(found, expected)
    list(two)
    first = trainer.held_out(3)
    next(first)
    first.close()
    np.testing.assert_array_equal(next(trainer.held_out()).tokens, alone[0])


def test_bits_per_byte_are_bits_per_token_over_the_bytes_of_a_token():
    resolved = resolve(parse(settings()), DataShape(vocab_size=11))
    part = PartSizes(documents=2, units=100, shortest=50, longest=50, text_bytes=400)
    assert part.bytes_per_token == 4
    assert PartSizes(2, 100, 50, 50).bytes_per_token is None
    totals = empty_totals(resolved.model)
    totals.loss, totals.count, totals.bytes_per_token = 3 * log(2) * 50, 50, part.bytes_per_token
    values = {metric.name: metric.value(totals) for metric in with_bytes(metrics_of(resolved.model), 4.0)}
    assert values["bits_per_token"] == pytest.approx(3)
    assert values["bits_per_byte"] == pytest.approx(0.75)
    assert "bits_per_byte" not in {metric.name for metric in with_bytes(metrics_of(resolved.model), None)}
