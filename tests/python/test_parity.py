"""Parity with the references: which models are compared, that a drift is found, and how the command ends."""

import json
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from ssm_hpn.cli.main import main
from ssm_hpn.config import model as sections
from ssm_hpn.parity import cases, compare
from ssm_hpn.parity.cases import COMBINATIONS, Outcome, make_case
from ssm_hpn.targets import ARRAYS, KINDS

CASES = [make_case(0, index) for index in range(len(COMBINATIONS))]


def kinds(union):
    """The kinds that a setting can have, without "auto"."""
    return {get_args(section.model_fields["kind"].annotation)[0] for section in get_args(get_args(union)[0])} - {"auto"}


def smoothings(heads):
    """The settings of heads, linear ones, and of losses of the others, that smooth their targets."""
    settings = [head if head["kind"] == "linear" else head.get("loss", {}) for head in heads]
    return [one for one in settings if one.get("smoothing", 0) > 0]


def test_the_cases_hold_every_kind_that_a_model_can_have():
    models = [case.model for case in CASES]
    heads = [model["head"] for model in models]
    prototypes = [head for head in heads if head["kind"] == "prototype"]
    assert {model["input"]["kind"] for model in models} == kinds(sections.Input)
    assert {model["target"]["kind"] for model in models} == kinds(sections.Target)
    assert {head["kind"] for head in heads} == kinds(sections.Head)
    losses = get_args(sections.PrototypeHead.model_fields["loss"].annotation)
    assert {head["loss"]["kind"] for head in prototypes} == {loss.model_fields["kind"].default for loss in losses}
    assert {head["loss"] for head in heads if head["kind"] == "linear"} == {"softmax", "squared"}
    smoothed = {(settings.get("kind"), settings.get("smoothing_toward", "all")) for settings in smoothings(heads)}
    assert smoothed == {("linear", "all"), ("softmax", "all"), ("margin", "near")}
    assert {head.get("projection", "linear") for head in prototypes} == {"linear", "identity"}
    assert {head["loss"]["kind"] for head in prototypes if head.get("prototypes") == "learnable"} == {
        "softmax",
        "margin",
    }
    assert {model["target"]["pooling"] for model in models if "pooling" in model["target"]} == {"mean", "last", "max"}
    assert max(model["target"].get("n_values", 1) for model in models) > 1


def outcome(case, change):
    """The core's outcome for a case, and the same with one part changed."""
    params = compare.random_parameters(case, np.random.default_rng(0))
    mine = compare.evaluate_core(case, params, "float64")
    values = {"loss": mine.loss, "hidden": mine.hidden, "scores": mine.scores, "gradients": mine.gradients}
    return mine, Outcome(**(values | change(mine)))


CHANGES = {
    "loss": lambda mine: {"loss": mine.loss * (1 + 1e-8)},
    "hidden states": lambda mine: {"hidden": mine.hidden * (1 + 1e-8)},
    "scores": lambda mine: {"scores": mine.scores * (1 + 1e-8)},
    "gradient lm_head.bias": lambda mine: {
        "gradients": mine.gradients | {"lm_head.bias": mine.gradients["lm_head.bias"] * (1 + 1e-8)}
    },
}


@pytest.mark.parametrize("tensor", CHANGES)
def test_a_tensor_that_drifts_is_named(tensor):
    case = CASES[1]
    mine, other = outcome(case, CHANGES[tensor])
    rows = list(compare.compare(case, "changed", "float64", mine, other))
    assert [row.tensor for row in rows if not row.ok] == [tensor]
    assert len(rows) == 3 + len(mine.gradients)


def test_numbers_per_token_would_need_no_other_reference(monkeypatch):
    """The arrays of a case and the loss of the reference follow from the description of a target."""
    reference = pytest.importorskip("ssm_hpn.parity.reference_jax")
    array = replace(ARRAYS["sequence_values"], name="token_values", per="token")
    kind = replace(KINDS["sequence_values"], name="token_values", arrays=(array,), pooled=False)
    monkeypatch.setitem(KINDS, kind.name, kind)
    monkeypatch.setattr(cases, "COMBINATIONS", (("features", "token_values", "squared"),))
    case = make_case(0, 0)
    assert "pooling" not in case.model["target"]
    y = case.arrays["token_values"].astype(np.float64)
    inside = cases.inside(case.arrays["segments"], y.shape[:2])
    np.testing.assert_array_equal(np.isnan(y).any(axis=2), ~inside)
    sequence = {**case.model, "target": {"kind": "sequence_values", "pooling": "mean", "n_values": y.shape[2]}}
    params = compare.random_parameters(replace(case, model=sequence), np.random.default_rng(0))
    found = reference.evaluate(params, case.model, case.arrays)
    assert found.scores.shape == y.shape
    assert found.loss == pytest.approx(np.nanmean((found.scores - y) ** 2))


def test_padding_is_not_compared():
    case = CASES[0]
    assert case.arrays["segments"][0, 2] < case.arrays["tokens"].shape[1]

    def in_padding(mine):
        hidden, scores = mine.hidden.copy(), mine.scores.copy()
        hidden[0, -1], scores[0, -1] = 7.0, 7.0
        return {"hidden": hidden, "scores": scores}

    mine, other = outcome(case, in_padding)
    assert all(row.ok for row in compare.compare(case, "changed", "float64", mine, other))


def test_the_drift_of_a_sum_is_relative_to_the_norm_of_its_terms():
    case = next(case for case in CASES if "cotangent" in case.arrays)
    mine, other = outcome(case, lambda _: {})
    terms = float(np.linalg.norm(mine.hidden * case.arrays["cotangent"]))
    (row,) = [
        row
        for row in compare.compare(
            case, "changed", "float64", Outcome(mine.loss + 1e-6, *list(vars(mine).values())[1:]), other
        )
        if row.tensor == "loss"
    ]
    assert row.drift == pytest.approx(1e-6 / terms)
    assert not row.ok


def test_the_command_writes_both_reports(tmp_path, capfd):
    pytest.importorskip("jax")
    assert main(["parity", "--cases", "1", "--out", str(tmp_path)]) == 0
    shown = capfd.readouterr().out
    report = json.loads((tmp_path / "parity.json").read_text())
    tensors = {row["tensor"] for row in report["rows"]}
    assert {"loss", "hidden states", "scores", "gradient backbone.norm_f.weight"} <= tensors
    assert {row["dtype"] for row in report["rows"]} == {"float32", "float64"}
    assert report["passed"]
    assert f"{len(report['rows'])} passed, 0 failed" in shown
    assert (tmp_path / "parity.md").read_text() in shown


def test_a_drift_over_its_bound_fails_and_is_named(tmp_path, capsys, monkeypatch):
    pytest.importorskip("jax")
    rows = [
        compare.Row("00 a case", "jax", "float32", "loss", 1e-9, 1e-5),
        compare.Row("00 a case", "jax", "float32", "scores", float("nan"), 1e-5),
    ]
    monkeypatch.setattr(compare, "run", lambda *_, **__: iter(rows))
    assert main(["parity", "--out", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "over its bound: 00 a case: jax float32 scores: nan > 1e-05" in shown
    assert "1 passed, 1 failed" in shown
    assert json.loads((tmp_path / "parity.json").read_text())["passed"] is False


def test_without_jax_the_error_names_the_package_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("ssm_hpn.cli.parity.find_spec", lambda *_: None)
    assert main(["parity", "--out", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install jax" in line
