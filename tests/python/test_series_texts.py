"""Texts as series of estimators."""

import json
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

pytest.importorskip("sklearn")

from sklearn.model_selection import GridSearchCV, cross_val_score
from text_series import languages, lines, motifs, of_backbone, of_features

from ssm_hpn.cli.main import main
from ssm_hpn.errors import ShapeError
from ssm_hpn.estimators import SSMClassifier, SSMRegressor, StateSpaceFeatures
from ssm_hpn.texts import ByteChannels

FAST = {"effort": "fast", "random_state": 0, "threads": 1}
BACKBONE = {"kind": "backbone", "d_model": 8, "n_layers": 1, "steps": 2, "random_state": 0}


@pytest.mark.parametrize(("task", "train", "bound"), [(languages, 120, 0.9), (motifs, 240, 0.8), (lines, 60, 1.0)])
def test_texts_are_classified(task, train, bound):
    model = SSMClassifier(**FAST).fit(*task(train, seed=0))
    assert model.score(*task(120, seed=1)) >= bound
    assert model.contract_.encoder == {
        "kind": "bytes",
        "vocab_size": 256,
        "channels": 16,
        "seed": model.contract_.encoder["seed"],
    }


def test_the_measurement_of_both_models_runs():
    train, test = lines(20, seed=0), lines(10, seed=1)
    assert of_features(train, test, 4, seed=0) > 0.5
    assert of_backbone(train, test, seed=0, steps=2) >= 0


TEXTS, LABELS = languages(24, seed=2)
FORMS = {
    "tuple": tuple,
    "bytes": lambda x: [one.encode() for one in x],
    "texts and bytes": lambda x: [one.encode() if n % 2 else one for n, one in enumerate(x)],
    "array": np.array,
    "array of bytes": lambda x: np.array([one.encode() for one in x]),
    "array of objects": lambda x: np.array(x, object),
    "texts of numpy": lambda x: list(np.array(x)),
    "pandas": pd.Series,
    "pandas string": lambda x: pd.Series(x, dtype="string"),
    "pandas category": lambda x: pd.Series(x, dtype="category"),
    "index": pd.Index,
    "polars": pl.Series,
    "Arrow": pa.array,
    "chunks of Arrow": lambda x: pa.chunked_array([x[:5], x[5:]]),
}


@pytest.fixture(scope="module")
def fitted():
    return SSMClassifier(**FAST).fit(TEXTS, LABELS)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_same_texts_has_the_same_scores(form, fitted):
    expected = fitted.class_scores(TEXTS)
    np.testing.assert_array_equal(fitted.class_scores(FORMS[form](TEXTS)), expected)
    np.testing.assert_array_equal(SSMClassifier(**FAST).fit(FORMS[form](TEXTS), LABELS).class_scores(TEXTS), expected)


def test_a_byte_has_the_same_channels_in_a_copy_of_the_model(fitted):
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.class_scores(TEXTS), fitted.class_scores(TEXTS))
    spelled = ByteChannels.from_encoder(again.contract_.encoder)
    np.testing.assert_allclose(spelled.vectors[97, :2], ByteChannels(spelled.seed).vectors[97, :2], rtol=0)
    assert ByteChannels(0).vectors[0, :3].round(6).tolist() == [1.764052, 0.400157, 0.978738]  # RandomState(0).normal
    other = SSMClassifier(**FAST | {"random_state": 1}).fit(TEXTS, LABELS)
    assert other.contract_.encoder["seed"] != spelled.seed


def test_texts_come_in_parts():
    model = SSMClassifier(**FAST).partial_fit(TEXTS[:16], LABELS[:16]).partial_fit(TEXTS[16:], LABELS[16:])
    assert model.predict(TEXTS).shape == (24,)
    with pytest.raises(ShapeError, match="X: expected texts, as in fit, found"):
        model.partial_fit(np.zeros((4, 9)), LABELS[:4])


@pytest.mark.parametrize("options", [FAST | {"causal": True}, BACKBONE])
def test_texts_are_read_byte_by_byte(options):
    model = SSMClassifier(**options).fit(TEXTS, LABELS)
    stream = model.stream()
    for byte in TEXTS[0].encode():
        answer = stream.step(bytes([byte]))
    assert answer.tolist() == model.predict(TEXTS[:1]).tolist()
    np.testing.assert_allclose(stream.predict_proba(), model.predict_proba(TEXTS[:1]), rtol=0, atol=1e-4)
    stream.reset()
    assert stream.prefill(TEXTS[1]).tolist() == model.predict(TEXTS[1:2]).tolist()
    two = model.stream(2)
    assert two.prefill(["abc", b"def"]).shape == (2,)
    for given, message in (
        (
            ["ab", "c"],
            "x: expected 2 texts of one number of bytes, found 2 texts of the lengths 2, 1; read each by a stre",
        ),
        ("ab", "x: expected 2 texts of one number of bytes, found 1 text of the lengths 2"),
        (np.zeros((2, 3, 16)), r"x: expected texts, as in fit, found \[2, 3, 16\] \(float64\)"),
    ):
        with pytest.raises(ShapeError, match=message):
            two.prefill(given)
    with pytest.raises(ShapeError, match="x: expected a byte of each text, found 2 bytes; read several by prefill"):
        two.step(["ab", "cd"])


@pytest.mark.parametrize("options", [FAST, BACKBONE])
def test_a_saved_estimator_of_texts_is_read_by_python_and_by_the_command_line(options, tmp_path, capsys):
    table = pd.DataFrame({"text": TEXTS, "kind": LABELS})
    model = SSMClassifier(**options).fit(table["text"], table["kind"])
    saved = model.save(tmp_path / "model")
    np.testing.assert_array_equal(SSMClassifier.load(saved).class_scores(TEXTS), model.class_scores(TEXTS))
    file = tmp_path / "texts.jsonl"
    table.to_json(file, orient="records", lines=True, force_ascii=False)
    assert main(["predict", str(saved), "--data", str(file)]) == 0
    answers = [json.loads(line)["class"] for line in capsys.readouterr().out.splitlines()]
    assert answers == model.predict(TEXTS).tolist()
    assert main(["evaluate", str(saved), "--data", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == pytest.approx(model.score(TEXTS, LABELS), abs=1e-6)


def test_where_the_targets_of_texts_had_no_name_evaluate_says_so(fitted, tmp_path, capsys):
    saved = fitted.save(tmp_path / "model")
    (tmp_path / "texts.jsonl").write_text(json.dumps({"text": TEXTS[0], "kind": LABELS[0]}))
    assert main(["evaluate", str(saved), "--data", str(tmp_path / "texts.jsonl")]) == 3
    assert "found none; no column of targets is known: fit the estimator to targets with a n" in capsys.readouterr().err


def test_the_contract_says_how_texts_are_read(fitted):
    assert fitted.contract_.summary()[1] == "input      arrays, texts as 16 fixed random channels of their bytes"


def test_texts_go_through_every_estimator_and_search(fitted):
    lengths = np.array([float(len(one)) for one in TEXTS])
    assert SSMRegressor(**FAST).fit(TEXTS, lengths).predict(TEXTS[:2]).shape == (2,)
    assert StateSpaceFeatures(**FAST).fit_transform(TEXTS).shape == (24, 8960)
    backbone = SSMClassifier(**BACKBONE).fit(TEXTS, LABELS)
    assert backbone.predict(TEXTS).shape == (24,)
    assert cross_val_score(SSMClassifier(**FAST), np.array(TEXTS), LABELS, cv=2).shape == (2,)
    GridSearchCV(SSMClassifier(**FAST), {"class_weight": [None, "balanced"]}, cv=2).fit(TEXTS, LABELS)


def test_numbers_and_texts_are_not_mixed_up(fitted):
    numbers = np.random.default_rng(0).normal(size=(24, 9))
    for found, given in ((r"\[24, 9\] \(float64\)", numbers), ("a list of 24", list(numbers))):
        with pytest.raises(ShapeError, match=f"X: expected texts, as in fit, found {found}; give series of texts"):
            fitted.predict(given)
    frame = pd.DataFrame({"id": [1, 1, 2], "x": [0.0, 1.0, 2.0]})
    with pytest.raises(ShapeError, match="X: expected texts, as in fit"):
        fitted.predict(frame)
    model = SSMClassifier(**FAST).fit(numbers, LABELS)
    with pytest.raises(ShapeError, match="X: expected numbers, as in fit, found texts; give series of numbers"):
        model.predict(TEXTS)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("", r"X\[3\]: expected a text of at least one byte, found an empty one; leave it out"),
        (b"", r"X\[3\]: expected a text of at least one byte"),
        (None, r"X\[3\]: expected a text, as before or behind it, found NoneType; leave it out"),
        (1.5, r"X\[3\]: expected a text, as before or behind it, found float"),
        ([1.0, 2.0], r"X\[3\]: expected a text, as before or behind it, found a list of 2"),
        ("\ud800", r"X\[3\]: expected a text that UTF-8 can hold, found '\\ud800'; pass its bytes"),
    ],
)
def test_what_is_no_text_is_refused_with_its_place(wrong, message, fitted):
    texts = [*TEXTS[:3], wrong, *TEXTS[4:]]
    for call in (fitted.predict, lambda x: SSMClassifier(**FAST).fit(x, LABELS)):
        with pytest.raises(ShapeError, match=message):
            call(texts)


def test_a_frame_of_one_column_of_texts_names_the_column(fitted):
    for frame in (pd.DataFrame({"line": TEXTS}), pl.DataFrame({"line": TEXTS})):
        with pytest.raises(
            ShapeError, match=r"X: expected numbers, or a column of texts, found a frame of one; pass X\['l"
        ):
            SSMClassifier(**FAST).fit(frame, LABELS)
