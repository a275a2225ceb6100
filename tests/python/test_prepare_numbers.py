"""Numbers are read in double precision; policies for missing ones; numpy arrays in each role."""

import warnings

import numpy as np
import pandas as pd
import pytest

from prepare_support import made, rows, written
from ssm_hpn.errors import DataError, ShapeError
from ssm_hpn.series import statistics


def features(prepared):
    """Document → channels [T, C] by the name behind the file."""
    return {row["name"].partition("#")[2]: np.array(row["features"]) for row in rows(prepared.train)}


@pytest.mark.parametrize("base", [1_700_000_000, 5_400_000, 1013.25, 0.0])
@pytest.mark.parametrize("unit", [20.0, 1e-3, 1e-13])
def test_small_changes_of_large_numbers_survive(tmp_path, base, unit):
    if unit <= 4 * np.spacing(base):
        unit = 8 * float(np.spacing(base))
    values = base + unit * np.array([0.0, -1.0, 1.0, -2.0])
    lines = ["id,x", *(f"s{n},{float(v)!r}" for n in range(4) for v in values)]
    (tmp_path / "d.csv").write_text("\n".join(lines) + "\n")
    prepared = made(tmp_path, tmp_path / "d.csv", {"id": "id", "features": "x"}, validation_fraction=0)
    for found in features(prepared).values():
        steps = (values - values.mean()) / values.std()
        np.testing.assert_allclose(found[:, 0], steps, rtol=1e-5, atol=1e-6)


def test_a_constant_is_shifted_and_not_scaled(tmp_path):
    (tmp_path / "d.csv").write_text("id,x\n" + "".join(f"s{n},0.1\n" for n in range(30)))
    prepared = made(tmp_path, tmp_path / "d.csv", {"id": "id", "features": "x"}, validation_fraction=0)
    column = prepared.contract.features[0]
    assert column.std == 1.0
    assert all((found == 0).all() for found in features(prepared).values())


def test_the_scale_of_numbers_to_predict_is_part_of_the_contract(tmp_path):
    rng = np.random.default_rng(0)
    prices = rng.normal(250_000, 50_000, 60)
    lines = ["id,x,v", *(f"s{n},{n + t},{float(prices[n])!r}" for n in range(60) for t in range(3))]
    (tmp_path / "d.csv").write_text("\n".join(lines) + "\n")
    prepared = made(tmp_path, tmp_path / "d.csv", {"id": "id", "features": "x", "values": "v"}, validation_fraction=0)
    stored = {row["name"].partition("#")[2]: row["values"] for row in rows(prepared.train)}
    assert np.std([value[0] for value in stored.values()]) == pytest.approx(1.0, rel=1e-5)
    for n in range(60):
        assert prepared.contract.unscale_values(stored[f"s{n}"])[0] == pytest.approx(prices[n], rel=1e-6)


# ---- missing numbers


def gaps(tmp_path, cells=("1", "", "3", "", "", "6")):
    lines = ["id,x,z", *(f"s{n},{cell},{n}" for n in range(4) for cell in cells)]
    (tmp_path / "d.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "d.csv"


COLUMNS = {"id": "id", "features": "x,z"}


def test_missing_numbers_are_masked_and_counted(tmp_path):
    prepared = made(tmp_path, gaps(tmp_path), COLUMNS, validation_fraction=0)
    x, z = prepared.contract.features
    assert (x.missing, x.indicator, z.missing, z.indicator) == (12, True, 0, False)
    assert x.mean == pytest.approx(10 / 3)
    assert prepared.manifest["feature_names"] == ["x", "z", "x missing", "x since seen"]
    found = features(prepared)["s0"]
    assert found[:, 2].tolist() == [0, 1, 0, 1, 1, 0]
    np.testing.assert_allclose(found[:, 3], np.log1p([0, 1, 0, 1, 2, 0]), rtol=1e-6)
    assert found[1, 0] == 0.0
    assert "missing    x 12 (mask)" in prepared.contract.summary()


@pytest.mark.parametrize(("missing", "expected"), [("forward", [1, 1, 3, 3, 3, 6]), ("zero", [1, 0, 3, 0, 0, 6])])
def test_missing_numbers_forward_and_zero(tmp_path, missing, expected):
    prepared = made(tmp_path, gaps(tmp_path), COLUMNS, missing=missing, normalize=False, validation_fraction=0)
    assert features(prepared)["s0"][:, 0].tolist() == expected
    assert prepared.n_features == 2


def test_missing_numbers_refused_with_their_line(tmp_path):
    with pytest.raises(DataError, match=r"row 3, column 'x': expected a finite number, found no number"):
        made(tmp_path, gaps(tmp_path), COLUMNS, missing="refuse")


def test_missing_numbers_of_the_held_out_part_alone_get_no_indicator(tmp_path):
    (tmp_path / "v.csv").write_text("id,x,z\nv,,1\nv,2,1\n")
    gaps(tmp_path, ("1", "2", "3"))
    prepared = made(tmp_path, tmp_path / "d.csv", COLUMNS, validation=(str(tmp_path / "v.csv"),))
    assert prepared.n_features == 2
    assert rows(prepared.validation)[0]["features"][0][0] == 0.0


def test_a_column_without_any_number_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"column 'x': expected a number in the training part, found none"):
        made(tmp_path, gaps(tmp_path, ("", "")), COLUMNS, validation_fraction=0)


def test_missing_numbers_to_predict_are_no_targets(tmp_path):
    lines = ["id,x,v", *(f"s{n},{n + t},{'' if n == 3 else n}" for n in range(20) for t in range(3))]
    (tmp_path / "d.csv").write_text("\n".join(lines) + "\n")
    prepared = made(tmp_path, tmp_path / "d.csv", {"id": "id", "features": "x", "values": "v"}, validation_fraction=0)
    stored = {row["name"].partition("#")[2]: row["values"][0] for row in rows(prepared.train)}
    assert np.isnan(stored["s3"])
    assert np.isfinite([value for name, value in stored.items() if name != "s3"]).all()


# ---- arrays

X = np.random.default_rng(1).normal(size=(40, 6, 2))
C = np.arange(40) % 3


@pytest.mark.parametrize(
    ("labels", "values"),
    [
        (np.eye(3)[C], (0, 1, 2)),
        (C[:, None], (0, 1, 2)),
        (C.astype(np.uint64) + np.uint64(2**63), (2**63, 2**63 + 1, 2**63 + 2)),
        (C.astype(np.float32), (0.0, 1.0, 2.0)),
        (np.where(C == 2, np.nan, C), (0.0, 1.0)),
        (np.array(["a", "b", "c"])[C], ("a", "b", "c")),
        (np.array([b"a", b"b", b"c"])[C], ("a", "b", "c")),
        (C.astype(">i2") - 1, (-1, 0, 1)),
        (C == 1, (False, True)),
        (C * 0.5, (0.0, 0.5, 1.0)),
    ],
)
def test_labels_of_arrays(tmp_path, labels, values):
    np.savez(tmp_path / "d.npz", X=X, y=labels)
    prepared = made(tmp_path, tmp_path / "d.npz", validation_fraction=0)
    classes = prepared.contract.classes
    assert classes.values == values
    labels_found = {int(row["name"].partition("#")[2]): row["label"] for row in rows(prepared.train)}
    flat = labels.argmax(axis=1) if labels.ndim == 2 and labels.shape[1] > 1 else labels.reshape(-1)
    expected = {
        n: classes.index(one.item() if not isinstance(one, bytes) else one.decode()) for n, one in enumerate(flat)
    }
    assert labels_found == expected


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": np.random.default_rng(0).uniform(0, 5, 40)}, r"array 'y': expected classes, found 40 different numbers"),
        ({"y": np.random.default_rng(0).normal(size=(40, 3))}, r"array 'y': expected one label per document"),
        ({"y": np.array([{}] * 40)}, r"array 'y': expected numbers .* found type object"),
        ({"y": C, "lengths": np.full(40, 7)}, r"index 0, array 'lengths': expected 1 to 6, found 7"),
        ({"y": C * 1j}, r"array 'y': expected numbers .* found type complex128"),
        ({"values": np.array(["a"] * 40)}, r"array 'values': expected numbers, found 'a'"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_in_one_line(tmp_path, arrays, message):
    np.savez(tmp_path / "d.npz", X=X, **arrays)
    with pytest.raises(DataError, match=message):
        made(tmp_path, tmp_path / "d.npz")


def test_lengths_as_a_column_and_labels_as_texts_per_step(tmp_path):
    texts = np.array(["a", "b", "c"])[np.arange(240).reshape(40, 6) % 3]
    np.savez(tmp_path / "d.npz", X=X, labels=texts, lengths=np.full((40, 1), 5))
    prepared = made(tmp_path, tmp_path / "d.npz", validation_fraction=0)
    assert {len(row["labels"]) for row in rows(prepared.train)} == {5}
    assert prepared.contract.classes.values == ("a", "b", "c")


def test_whole_numbers_in_the_role_of_features_are_features(tmp_path):
    signal = np.random.default_rng(0).integers(0, 1024, (40, 30)).astype(np.uint16)
    np.savez(tmp_path / "d.npz", signal=signal, y=C)
    prepared = made(tmp_path, tmp_path / "d.npz", {"features": "signal"})
    assert (prepared.kind, prepared.n_features) == ("features", 1)


@pytest.mark.parametrize("number", [1e150, -1e160, 1e300, 1e308])
@pytest.mark.parametrize("role", ["features", "values"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "npz"])
def test_numbers_whose_squares_no_double_holds_are_refused_with_their_place(tmp_path, suffix, role, number):
    if suffix == "npz":
        x, y = np.random.default_rng(0).normal(size=(8, 4, 1)), np.arange(8.0)
        (x[2] if role == "features" else y)[2] = number
        np.savez(path := tmp_path / "d.npz", x=x, values=y)
        columns = {}
    else:
        table = [{"m": n // 4, "x": n * 0.5, "v": n // 4 + 0.5} for n in range(32)]
        for row in table[8:12]:
            row["x" if role == "features" else "v"] = number
        path, columns = written(tmp_path / f"d.{suffix}", table), {"id": "m", "features": "x", "values": ("v",)}
    with warnings.catch_warnings(action="error"), pytest.raises(DataError) as caught:
        made(tmp_path, path, columns)
    shown = f"{number:g}".replace("e+", "e")
    assert f"expected numbers below 1e150, found {shown}; choose a larger unit" in str(caught.value)
    assert any(place in str(caught.value) for place in ("row ", "line ", "index 2"))


def digits(first: str, name: str = "x") -> str:
    return f"id,t,{name}\n" + "".join(f"{n},{n % 3},{n}.5\n" for n in range(40)) + f"40,0,{first}\n"


@pytest.mark.parametrize("written", ["1_0", "1e1_0", "1_000.5"])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_an_underscore_between_digits_makes_no_number(tmp_path, written, kind):
    """The engine reads 1_0 as 10."""
    path = tmp_path / f"t.{kind}"
    (tmp_path / "t.csv").write_text(digits(written))
    if kind == "parquet":
        pd.read_csv(tmp_path / "t.csv", dtype=str).to_parquet(path)
    used = {"id": "id", "order": "t", "features": ["x"]}
    with pytest.raises(
        DataError, match=rf"row {42 - (kind == 'parquet')}, column 'x': expected a number, found '{written}'"
    ):
        made(tmp_path, path, used)


def test_an_underscore_in_an_order_value_is_no_number(tmp_path):
    rows = "".join(f"a,{t},1.5\n" for t in ["0", "1", "1_0", "4"])
    (tmp_path / "t.csv").write_text("id,t,x\n" + rows * 3)
    with pytest.raises(DataError, match="row 4, column 't': expected a number as in other rows, found '1_0'"):
        made(tmp_path, tmp_path / "t.csv", {"id": "id", "order": "t", "features": ["x"]})


def test_ids_with_underscores_are_read_beside_numbers(tmp_path):
    (tmp_path / "t.csv").write_text("id,t,x\n" + "".join(f"s_{n}_{n % 7},1,{n}.25\n" for n in range(40)))
    prepared = made(tmp_path, tmp_path / "t.csv", {"id": "id", "order": "t", "features": ["x"]})
    assert prepared.contract.features[0].maximum == 39.25


def test_numbers_whose_differences_cannot_be_squared_are_refused(tmp_path):
    (tmp_path / "t.csv").write_text("id,t,x\n" + "".join(f"{n},1,{n}e-170\n" for n in range(1, 41)))
    with pytest.raises(DataError, match=r"column 'x': expected numbers that differ by more than 1e-150, found"):
        made(tmp_path, tmp_path / "t.csv", {"id": "id", "order": "t", "features": ["x"]})
    with pytest.raises(ShapeError, match="expected numbers that differ by more than 1e-150"):
        statistics([np.array([[1e-170], [2e-170]])], ["X"])
