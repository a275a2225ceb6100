"""Archives of numpy arrays: every type in every role is read, or refused in one line with array and place."""

import json

import numpy as np
import pytest

from prepare_support import made, rows
from ssm_hpn.cli.main import main
from ssm_hpn.errors import DataError

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(40, 8, 2)).astype(np.float32)
Y = np.arange(40) % 3


def archive(folder, **arrays):
    path = folder / "d.npz"
    np.savez(path, **arrays)
    return path


def objects():
    found = np.empty(40, object)
    found[:] = [one[: 3 + index % 5] for index, one in enumerate(X)]
    return found


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.eye(3)[Y], ["0", "1", "2"]),
        (np.eye(3, dtype=bool)[Y], ["0", "1", "2"]),
        (Y[:, None], ["0", "1", "2"]),
        (Y.astype(np.uint64) + np.uint64(2**63), [str(2**63 + n) for n in range(3)]),
        (Y.astype(">i4"), ["0", "1", "2"]),
        (Y.astype(float), ["0.0", "1.0", "2.0"]),
        (Y * 0.5, ["0.0", "0.5", "1.0"]),
        (np.where(Y == 0, -1, 1), ["-1", "1"]),
        (np.array([1001, 9009])[Y % 2], ["1001", "9009"]),
        (Y == 0, ["false", "true"]),
        (np.array([b"ab", b"c"])[Y % 2], ["ab", "c"]),
        (np.array(["größe", "数据"])[Y % 2], ["größe", "数据"]),
        (np.array(["007", "008"])[Y % 2], ["007", "008"]),
        (np.where(Y == 1, np.nan, Y), ["0.0", "2.0"]),
    ],
)
def test_labels_are_kept_as_written(tmp_path, labels, names):
    prepared = made(tmp_path, archive(tmp_path, features=X, label=labels))
    assert prepared.class_names == names
    found = rows(prepared.train) + rows(prepared.validation)
    assert len(found) == 40
    without = int(np.isnan(labels).sum()) if labels.dtype.kind == "f" else 0
    assert sum(row["label"] == -1 for row in found) == without


def test_labels_of_steps_beside_one_series_are_those_of_one_document(tmp_path):
    labels = np.arange(40) % 2
    prepared = made(tmp_path, archive(tmp_path, features=X[:, 0], labels=labels), split="tail")
    found = rows(prepared.train) + rows(prepared.validation)
    assert (prepared.n_features, sum(len(row["features"]) for row in found)) == (2, 40)
    assert np.concatenate([row["labels"] for row in found]).tolist() == labels.tolist()


def test_one_hot_labels_of_steps_are_refused(tmp_path):
    path = archive(tmp_path, features=X, labels=np.eye(3)[RANDOM.integers(0, 3, (40, 8))])
    with pytest.raises(
        DataError, match=r"array 'labels': expected one label per token or time step, found shape \[40, 8"
    ):
        made(tmp_path, path)


@pytest.mark.parametrize(
    "features", [X.astype(">f8"), X.astype(np.float16), (X * 10).astype(np.int16), (X * 10).astype(np.uint64), X > 0]
)
def test_numbers_of_every_type_are_features(tmp_path, features):
    prepared = made(tmp_path, archive(tmp_path, features=features, label=Y), normalize=False)
    assert (prepared.kind, prepared.n_features) == ("features", 2)
    found = {row["name"]: row["features"] for row in rows(prepared.train) + rows(prepared.validation)}
    name = next(iter(found))
    index = int(name.partition("#")[2])
    np.testing.assert_array_equal(found[name], features[index].astype(np.float32))


def test_whole_numbers_in_the_role_of_features_are_features(tmp_path, capsys):
    path = archive(tmp_path, signal=RANDOM.integers(0, 1024, (40, 8)), label=Y)
    assert main(["prepare", str(path), "--data.columns.features", "signal", "--out", str(tmp_path / "p")]) == 0
    assert "1 feature per time step" in capsys.readouterr().out


@pytest.mark.parametrize("unit", [1e-13, 1.0, 1e9])
@pytest.mark.parametrize("offset", [0.0, 1.7e9])
def test_statistics_are_exact_in_any_unit(tmp_path, unit, offset):
    steps = np.cumsum(RANDOM.integers(1, 9, size=(40, 8, 1)), axis=1).astype(float)
    x = steps * unit if offset == 0 else offset + steps
    prepared = made(tmp_path, archive(tmp_path, features=x, label=Y))
    values = np.concatenate([row["features"] for row in rows(prepared.train)])
    np.testing.assert_allclose([values.mean(), values.std()], [0, 1], atol=1e-5)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"features": X + 1j, "label": Y}, r"array 'features': .*found type complex64; store its real part"),
        ({"features": objects(), "label": Y}, r"array 'features': .*found type object; store one array \[N, T, F\]"),
        (
            {"features": X, "label": Y.astype(object)},
            r"array 'label': .*found type object; store it as numbers \(NaN for no label\) or texts \(empty",
        ),
        (
            {"features": X, "values": Y.astype(object)},
            r"array 'values': .*found type object; store it as an array of n",
        ),
        ({"tokens": Y.astype(object)}, r"array 'tokens': .*found type object; store one array \[N, T\], padded"),
        (
            {"features": X.astype("M8[s]"), "label": Y},
            r"array 'features': .*found type datetime64\[s\]; store it as numbers",
        ),
        ({"features": np.asfortranarray(X), "label": Y}, r"array 'features': expected an array in C order"),
        ({"features": X.astype(str), "label": Y}, r"array 'features': expected numbers, found '"),
        ({"features": np.full((40, 8, 2), "abc"), "label": Y}, r"array 'features': expected numbers, found 'abc'"),
        ({"features": np.zeros(40, [("a", "f4")]), "label": Y}, r"array 'features': .*store its fields as arrays"),
        ({"features": X, "label": Y + 0j}, r"array 'label': .*found type complex128"),
        ({"features": X, "label": RANDOM.normal(size=(40, 3))}, r"array 'label': expected one label per document"),
        ({"features": X, "label": Y[:5]}, r"array 'label': expected shape \[40\]"),
        (
            {"features": np.where(X > 2, np.inf, X), "label": Y},
            r"index \d+, step \d, array 'features\[\d\]': .*found inf",
        ),
        ({"features": X[..., None], "label": Y}, r"."),
        ({"features": X[0, 0], "label": Y[:2]}, r"array 'label': expected labels \[2\] of time steps alone"),
        ({"features": np.float32(3)}, r"array 'features': expected at least one number"),
        ({"features": X[:0], "label": Y[:0]}, r"array 'features': expected at least one number"),
        ({"features": X, "label": Y, "lengths": np.full(40, 9)}, r"array 'lengths': expected 1 to 8, found 9"),
        ({"features": X, "label": Y, "lengths": np.full(40, 2.5)}, r"array 'lengths': expected 1 to 8, found 2\.5"),
        ({"features": X, "label": Y, "lengths": np.full(40, np.nan)}, r"array 'lengths': expected 1 to 8, found nan"),
        ({"features": X, "label": Y, "lengths": np.full(40, 2**62)}, r"array 'lengths': expected 1 to 8, found 4611"),
        ({"features": X, "values": np.where(Y == 0, np.inf, 1.0)}, r"array 'values\[0\]': expected a finite number"),
        ({"features": X, "values": np.full(40, "a")}, r"array 'values': expected numbers, found 'a'"),
        ({"tokens": np.full((40, 8), -1)}, r"array 'tokens': expected a token id"),
        ({"tokens": X[..., 0]}, r"array 'tokens': expected whole numbers"),
    ],
)
def test_refused_arrays_are_named(tmp_path, capsys, arrays, message):
    path = archive(tmp_path, **arrays)
    with pytest.raises(DataError, match=r"d\.npz: .*" + message) as caught:
        made(tmp_path, path)
    assert "\n" not in str(caught.value)
    assert main(["prepare", str(path), "--out", str(tmp_path / "p")]) == 3
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_missing_numbers_and_rows_left_out_are_printed(tmp_path, capsys):
    path = archive(tmp_path, features=np.where(X > 1.5, np.nan, X), label=np.where(Y == 1, np.nan, Y))
    assert main(["prepare", str(path), "--out", str(tmp_path / "p")]) == 0
    shown = capsys.readouterr().out
    assert "missing" in shown
    assert "features[0] " in shown
    lines = [{"text": "" if index % 4 == 0 else f"line {index}", "label": "ab"[index % 2]} for index in range(40)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = ["prepare", str(tmp_path / "t.jsonl"), "--data.columns.label", "label", "--out", str(tmp_path / "q")]
    assert main(words) == 0
    assert "left out     10 rows: nothing in the column of the data" in capsys.readouterr().out


@pytest.mark.parametrize("ending", ["npy", "npz", "NPZ"])
def test_the_contract_names_the_format_of_the_file(tmp_path, ending):
    x = np.arange(60.0).reshape(20, 3, 1)
    path = tmp_path / f"d.{ending}"
    with path.open("wb") as file:
        if ending == "npy":
            np.save(file, x)
        else:
            np.savez(file, x=x)
    prepared = made(tmp_path, path)
    assert prepared.contract.format == ending.lower()
    assert any(f" {ending.lower()}, " in line for line in prepared.contract.describe())
