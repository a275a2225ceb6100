"""The contract of a data set: classes as they are written, statistics in double precision, channels, JSON."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from ssm_hpn.classes import Classes
from ssm_hpn.columns import Column, PartSizes, Scale, measured, measured_columns
from ssm_hpn.contract import Contract
from ssm_hpn.errors import DataError
from ssm_hpn.moments import Moments


@pytest.mark.parametrize(
    ("texts", "kind", "values"),
    [
        (["1", "-1"], "integer", (-1, 1)),
        (["10", "9", "3"], "integer", (3, 9, 10)),
        (["20240101", "9009"], "integer", (9009, 20240101)),
        (["1.0", "0.5", "2"], "number", (0.5, 1.0, 2.0)),
        (["True", "false", "TRUE"], "boolean", (False, True)),
        (["007", "8"], "text", ("007", "8")),
        (["cat", "1"], "text", ("1", "cat")),
        (["1e400", "2"], "text", ("1e400", "2")),
    ],
)
def test_classes_are_the_distinct_values_in_their_type(texts, kind, values):
    classes = Classes.from_texts(dict.fromkeys(texts, 1))
    assert (classes.type, classes.values) == (kind, values)
    assert [type(value) for value in classes.values] == [type(value) for value in values]
    assert [classes.index(value) for value in classes.values] == list(range(len(values)))


def test_only_missing_values_are_no_label():
    classes = Classes.from_texts({"-1": 2, "1": 3, "": 4, "NaN": 1})
    assert classes.counts == (2, 3)
    assert [classes.index(label) for label in (None, "", "nan", math.nan, np.float32("nan"))] == [-1] * 5
    assert classes.index(-1) == 0


@pytest.mark.parametrize(
    ("texts", "named"), [(["7", "007", "x"], "'007' and '7'"), (["cat", "cat "], "'cat' and 'cat '")]
)
def test_one_class_in_two_spellings_is_refused(texts, named):
    with pytest.raises(DataError, match=named):
        Classes.from_texts(dict.fromkeys(texts, 1))


def test_1_and_1_0_are_one_class():
    classes = Classes.from_texts({"1": 2, "1.0": 3, "2.0": 1})
    assert (classes.values, classes.counts) == ((1.0, 2.0), (5, 1))
    whole = Classes.from_texts({"1": 2, "2": 3})
    assert whole.index(1.0) == whole.index("1.0") == 0


def test_a_label_that_is_no_class_is_refused_with_the_classes():
    classes = Classes.from_texts({"cat": 2, "dog": 3})
    with pytest.raises(DataError, match=r"expected a class of the training data \(cat, dog\), found 'cot'"):
        classes.index("cot")
    with pytest.raises(DataError, match=r"found 1\.5"):
        Classes.from_texts({"1": 1, "2": 1}).index(1.5)


def test_labels_of_arrays_keep_their_types():
    assert Classes.from_values(np.array([1, -1])).values == (-1, 1)
    assert Classes.from_values(np.array(["1", "2"])).values == ("1", "2")
    assert Classes.from_values([True, False, None]).values == (False, True)
    assert Classes.from_values([b"a", b"b"]).values == ("a", "b")
    assert Classes.from_values(np.array([1.0, np.nan])).values == (1.0,)
    with pytest.raises(DataError, match="integer and text"):
        Classes.from_values([1, "a"])


def test_moments_of_chunks_are_those_of_the_whole_in_double_precision():
    rows = 1.7e9 + np.random.default_rng(1).normal(size=(1000, 2)) * [20, 1e-3]
    rows[5, 1] = np.nan
    moments = Moments.empty(2)
    for chunk in np.array_split(rows, 7):
        moments.add(chunk)
    np.testing.assert_allclose(moments.std, np.nanstd(rows - 1.7e9, axis=0), rtol=1e-6)
    assert moments.missing.tolist() == [0, 1]
    assert not moments.constant.any()


@pytest.mark.parametrize("unit", [1e-150, 1e-13, 1.0, 1e13])
def test_a_column_is_constant_relative_to_the_size_of_its_numbers(unit):
    moments = Moments.of(unit * np.array([[0.3, 1.0], [0.3, 2.0], [0.3, 3.0]]))
    assert moments.constant.tolist() == [True, False]
    assert moments.scale()[0] == 1.0


def channels_of(missing, *, indicator=False):
    columns = (
        Column("a", "feature", mean=1.0, std=2.0, indicator=indicator),
        Column("b", "feature", mean=0.0, std=1.0),
    )
    return Contract(kind="features", columns=columns, missing=missing)


def test_missing_numbers_become_the_mean_with_an_indicator():
    contract = channels_of("mask", indicator=True)
    raw = [[np.nan, 0.0], [3.0, 0.0], [np.nan, np.nan], [np.nan, 0.0]]
    found = contract.channels(raw)
    assert found.dtype == np.float32
    assert found[:, 0].tolist() == [0.0, 1.0, 0.0, 0.0]
    assert found[:, 1].tolist() == [0.0] * 4
    assert found[:, 2].tolist() == [1.0, 0.0, 1.0, 1.0]
    np.testing.assert_allclose(found[:, 3], np.log1p([1, 0, 1, 2]), rtol=1e-6)
    assert contract.channel_names == ["a", "b", "a missing", "a since seen"]
    assert contract.n_channels == found.shape[1]


def test_missing_numbers_forward_zero_and_refuse():
    raw = [[np.nan, 0.0], [3.0, 0.0], [np.nan, 0.0]]
    assert channels_of("forward").channels(raw)[:, 0].tolist() == [0.0, 1.0, 1.0]
    assert channels_of("zero").channels(raw)[:, 0].tolist() == [-0.5, 1.0, -0.5]
    with pytest.raises(DataError, match="step 0, column 'a': expected a number, found a missing one"):
        channels_of("refuse").channels(raw)


def test_a_number_that_cannot_be_scaled_is_refused():
    contract = Contract("features", (Column("x", "feature", mean=0.0, std=1e-3),))
    assert contract.channels([[3e35]])[0, 0] == np.float32(3e38)
    expected = r"x: expected a number .* \(mean 0 and deviation 0.001\), found 1e\+36; give it in the units"
    with pytest.raises(DataError, match=expected):
        contract.channels([[1.0], [1e36]])


def test_channels_are_standardised_in_double_precision():
    contract = Contract(kind="features", columns=(Column("t", "feature", mean=1.7e9, std=20.0),))
    assert contract.channels([[1.7e9 - 20], [1.7e9 + 40]])[:, 0].tolist() == [-1.0, 2.0]
    with pytest.raises(DataError, match=r"expected 1 number per time step \(t\)"):
        contract.channels([[1.0, 2.0]])


def test_numbers_to_predict_are_scaled_and_unscaled_exactly():
    contract = Contract(kind="features", scale=Scale((250_000.0,), (50_000.0,)))
    np.testing.assert_array_equal(contract.scale_values([[300_000.0]]), [[1.0]])
    np.testing.assert_array_equal(contract.unscale_values([[1.0]]), [[300_000.0]])


def whole():
    return Contract(
        kind="features",
        columns=(
            Column("id", "id", "text"),
            Column("x", "feature", mean=0.1, std=0.2, minimum=-1.0, maximum=1.0, missing=3, indicator=True),
            Column("y", "label", "integer", missing=2),
        ),
        classes=Classes((-1, 1), "integer", (4, 6)),
        encoder={"kind": "features"},
        format="csv",
        parts={"train": PartSizes(10, 30, 2, 4), "validation": PartSizes(2, 6, 3, 3)},
        left_out=(("a.bin", "binary"),),
        notes=("the separator is ';'",),
    )


def test_the_contract_survives_json():
    contract = whole()
    assert Contract.from_json(json.loads(json.dumps(contract.to_json()))) == contract
    assert Contract.from_json(json.dumps(contract.to_json())) == contract
    with pytest.raises(DataError, match=r"expected the description of a data set, found .*'later'"):
        Contract.from_json({"kind": "features", "later": 1})


def test_the_contract_in_five_lines_and_in_full():
    lines = whole().summary()
    assert lines == [
        "documents  train 10 of 2 to 4 time steps; validation 2 of 3 time steps",
        "input      csv, 1 feature (x), shifted and scaled, id id (text)",
        "target     y, 2 classes (integer): -1 4, 1 6 (2 without a label)",
        "missing    x 3 (mask)",
        "left out   a.bin (binary)",
    ]
    full = whole().describe()
    assert full[:5] == lines
    assert "column     x: feature, number, 0.1 ± 0.2, from -1 to 1, 3 missing, with an indicator" in full
    assert "class      -1: 4" in full
    assert "note       the separator is ';'" in full


def test_the_target_line_names_both_columns_of_a_joint_target():
    price = Column("price", "value", mean=1.7e9 + 3.25, std=0.5, minimum=1.7e9 + 2, maximum=1.7e9 + 4.5, missing=1)
    contract = replace(whole(), columns=(*whole().columns, price))
    line = "target     y, 2 classes (integer): -1 4, 1 6 (2 without a label); price 1700000003.25 ± 0.5 (1 missing)"
    assert line in contract.summary()
    assert contract.value_names == ["price"]
    full = "price: value, number, 1700000003.25 ± 0.5, from 1700000002 to 1700000004.5, 1 missing"
    assert f"column     {full}" in contract.describe()


@pytest.mark.parametrize(
    ("mean", "std", "shown"),
    [
        (1.7e9 + 3, 1.0, "1700000003 ± 1"),
        (1.7e9 + 3.00012, 1.0, "1700000003.0001 ± 1"),
        (101325.25, 1e-3, "101325.25 ± 0.001"),
        (-5e-13, 1e-13, "-5e-13 ± 1e-13"),
        (0.0, 1e-300, "0 ± 1e-300"),
        (1e300, 1e-300, "1.0000000000000001e+300 ± 1e-300"),
        (123456789.0, 1e8, "1.23457e+08 ± 1e+08"),
        (None, None, "? ± ?"),
    ],
)
def test_a_mean_is_shown_to_the_precision_of_its_deviation(mean, std, shown):
    assert measured(mean, std) == shown


def test_a_folder_of_an_older_release_has_a_contract_too(tmp_path):
    manifest = {
        "kind": "features",
        "n_features": 2,
        "feature_names": ["a", "b"],
        "normalisation": {"mean": [1.0, 2.0], "std": [1.0, 4.0]},
        "n_classes": 2,
        "class_names": ["cat", "dog"],
        "encoder": {"kind": "features"},
        "source": {"format": "csv", "options": {"columns": {"label": "y"}}},
    }
    contract = Contract.from_manifest(manifest, tmp_path)
    assert contract.classes.values == ("cat", "dog")
    assert contract.channels([[2.0, 6.0]]).tolist() == [[1.0, 1.0]]
    assert Contract.from_manifest(manifest | {"contract": whole().to_json()}, tmp_path) == whole()


def test_a_constant_column_is_shown_as_constant():
    moments = Moments.of(np.full((5, 1), 7.0))
    contract = Contract("features", measured_columns(["x"], moments, "feature"))
    assert contract.describe()[-1] == "column     x: feature, number, constant at 7"
    target = Contract("features", measured_columns(["y"], moments, "value"))
    assert "y constant at 7" in target.summary()[2]
    one = Contract("features", measured_columns(["x"], Moments.of(np.array([[6.0], [8.0]])), "feature"))
    assert one.describe()[-1] == "column     x: feature, number, 7 ± 1, from 6 to 8"
