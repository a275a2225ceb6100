"""Labels that are or may be one class, and labels that look missing: the same rules for files and estimators."""

import json
import re
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prepare_support import made, written
from ssm_hpn.classes import Classes
from ssm_hpn.errors import DataError
from ssm_hpn.series import labels_of


@pytest.mark.parametrize(
    "pair", [("03", "3"), (" DE", "DE"), ("1", "1.0"), ("True", "true"), ("-01", "-1"), ("+3", "3")]
)
def test_two_spellings_of_one_class_are_refused_from_files_and_from_arrays(pair):
    for read in (lambda: Classes.from_texts(dict.fromkeys([*pair, "x"], 1)), lambda: labels_of([*pair, "x"])):
        with pytest.raises(DataError, match=r"each class written one way, found .*write one class one way"):
            read()


def test_version_numbers_and_signs_make_different_classes():
    texts = ["1.1", "1.10", "-1", "1", "x"]
    assert set(Classes.from_texts(dict.fromkeys(texts, 1)).values) == set(texts)


def test_texts_of_one_number_with_a_fraction_are_different_classes_and_noted():
    classes = Classes.from_texts({"1.1": 5, "1.10": 7, "1.2": 1})
    assert classes.values == ("1.1", "1.10", "1.2")
    assert classes.counts == (5, 7, 1)
    assert classes.doubts() == [
        "classes '1.1' and '1.10' are one number and different classes: write one class one way if they are one"
    ]
    assert Classes.from_texts({"1.10": 1, "1.2": 1, "3": 1}).type == "number"


@pytest.mark.parametrize("y", [[1, "1"], ["1", 1.0], (True, "true"), [True, 2, False], (0.5, False)])
def test_labels_of_two_types_are_refused_in_a_list_too(y):
    for labels in (y, np.array(y, object)):
        with pytest.raises(DataError, match=r"y: expected labels of one type, found \w+ and \w+; write all"):
            labels_of(labels)


def test_classes_that_differ_in_case_or_look_missing_are_noted():
    classes = Classes.from_texts({"a": 1, "A": 2, "N/A": 1, "None": 1, "b": 1})
    assert classes.doubts() == [
        "classes 'A' and 'a' differ only in case",
        "classes 'N/A', 'None' look like a missing value",
    ]
    with pytest.warns(UserWarning, match="y: classes 'DE' and 'de' differ only in case"):
        labels_of(["DE", "de", None])


def test_ordinary_classes_give_no_note():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for y in (["a", "b", None], np.array([1, -1]), [True, False]):
            assert len(labels_of(y).classes) == 2


def table_of(path, labels):
    """Texts with labels, each of them several times."""
    return written(path, [{"text": f"line {n} of many", "y": one} for n, one in enumerate(labels * 8)])


def test_notes_of_files_say_what_to_do_about_a_missing_value(tmp_path):
    prepared = made(tmp_path, table_of(tmp_path / "d.csv", ["a", "NA", "nan", "b"]), {"text": "text", "label": "y"})
    advice = "if it is one, leave the cell empty, or in CSV name it in data.null"
    assert f"class 'NA' looks like a missing value; {advice}" in prepared.contract.notes
    assert prepared.contract.classes.values == ("NA", "a", "b")


def test_one_class_in_several_types_of_json_lines_is_refused(tmp_path):
    path = table_of(tmp_path / "d.jsonl", [1, "1", 1.0, True])
    with pytest.raises(DataError, match=r"y.*each class written one way, found '1' and '1\.0'"):
        made(tmp_path, path, {"text": "text", "label": "y"})


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize(
    ("labels", "said"), [(["true", "1", "2"], "'1' and 'true'"), (["0", "False"], "'0' and 'False'")]
)
def test_true_beside_1_is_noted(tmp_path, suffix, labels, said):
    if suffix == "jsonl":
        labels = [json.loads(one.lower()) for one in labels]
    found = made(tmp_path, table_of(tmp_path / f"d.{suffix}", labels), {"text": "text", "label": "y"}).contract
    said = said if suffix == "csv" else said.lower()
    assert f"classes {said} may be one: write one class one way if they are" in found.notes
    assert len(found.classes) == len(labels)


def test_ids_that_differ_in_leading_zeros_stay_two_and_are_noted(tmp_path):
    table = [{"m": one, "x": n} for n, one in enumerate(["0000", "0", "001", *map(str, range(10, 40))] * 3)]
    prepared = made(tmp_path, written(tmp_path / "d.csv", table), {"id": "m", "features": "x"})
    assert "ids '0000' and '0' differ in leading zeros alone and are two" in prepared.contract.notes


def test_whole_numbers_that_no_type_of_64_bits_holds_stay_different_texts():
    for texts in ([str(10**30), str(10**30 + 1), "1"], ["-1", str(2**63)], [str(2**64), "1"], [str(10**22), "1"]):
        found = Classes.from_texts(dict.fromkeys(texts, 2))
        assert (set(found.values), found.type) == (set(texts), "text")
    assert Classes.from_texts({"1e30": 1, "2.5": 1}).type == "number"


LARGE = [2**63 + 1, 2**63, 5, 2**64 - 1]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "npz"])
def test_whole_numbers_of_64_bits_are_classes_as_written_in_every_format(tmp_path, suffix):
    path = tmp_path / f"d.{suffix}"
    if suffix == "npz":
        np.savez(path, X=np.random.default_rng(0).normal(size=(32, 4, 1)), y=np.array(LARGE * 8, np.uint64))
    elif suffix == "parquet":
        texts = [f"line {n} of many" for n in range(32)]
        pq.write_table(pa.table({"text": texts, "y": pa.array(LARGE * 8, pa.uint64())}), path)
    else:
        table_of(path, LARGE)
    found = made(tmp_path, path, None if suffix == "npz" else {"text": "text", "label": "y"}).contract.classes
    assert (found.values, found.type) == (tuple(sorted(LARGE)), "integer")


@pytest.mark.parametrize("text", ["9223372036854775809.0", "+9223372036854775809", "09223372036854775809.00"])
def test_a_whole_number_written_otherwise_is_its_own_class_and_no_neighbour(text):
    classes = Classes.from_texts({str(2**63): 1, str(2**63 + 1): 1})
    assert classes.index(text) == 1
    with pytest.raises(DataError, match="expected a class of the training data"):
        classes.index("9223372036854775810.0")


def test_a_whole_number_that_no_double_holds_is_refused_beside_fractions():
    with pytest.raises(DataError, match=r"y: expected numbers that a double holds, found 9007199254740993; pass them"):
        labels_of([0.5, 2**53 + 1, 2**53])
    with pytest.raises(DataError, match="y: expected numbers that a double holds, found a number of 401 digits"):
        labels_of([0.5, 10**400])


def test_bytes_that_are_no_text_are_refused_as_labels():
    """Their order and their texts would be those of other labels."""
    assert labels_of([b"1", "ü".encode()]).classes.values == ("1", "ü")
    message = re.escape(r"expected labels that are texts, or bytes of UTF-8, found b'\xff'; pass them as texts")
    with pytest.raises(DataError, match=f"y: {message}"):
        labels_of(np.array([b"1", b"\xff"]))
    with pytest.raises(DataError, match=f"add_classes: {message}"):
        labels_of([b"a", b"b"]).classes.with_added([b"\xff"])
