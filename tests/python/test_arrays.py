"""Arrays of numpy, pandas, polars, Arrow and PyTorch: converted, or refused in one line that names the argument."""

from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from ssm_hpn import Trainer
from ssm_hpn.arrays import as_written, columns_of, numbers, to_array, whole_numbers
from ssm_hpn.errors import ShapeError
from support import settings


class Tensor:
    """The part of torch.Tensor that is used, without PyTorch; `numpy` raises while gradients are tracked."""

    def __init__(self, values, *, follows=False, bfloat16=False):
        self.values, self.follows, self.bfloat16 = np.asarray(values), follows, bfloat16

    @property
    def shape(self):
        return self.values.shape

    def detach(self):
        return Tensor(self.values, bfloat16=self.bfloat16)

    def cpu(self):
        return self

    def float(self):
        return Tensor(self.values.astype(np.float32))

    def numpy(self):
        if self.follows:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad")
        if self.bfloat16:
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.values

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad")


def read_only(array):
    array.flags.writeable = False
    return array


PLAIN = np.array([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])


@pytest.mark.parametrize(
    "value",
    [
        PLAIN.tolist(),
        tuple(map(tuple, PLAIN.tolist())),
        [list(row) for row in PLAIN.astype(np.float32)],
        PLAIN.astype(">f4"),
        PLAIN.astype(np.float16),
        PLAIN.astype(np.uint64),
        PLAIN.astype(object),
        PLAIN.astype(">i2"),
        np.asfortranarray(PLAIN),
        PLAIN[::-1][::-1],
        read_only(PLAIN.copy()),
        np.ma.masked_array(PLAIN),
        [[Decimal(int(x)) for x in row] for row in PLAIN],
        pd.DataFrame(PLAIN),
        pd.DataFrame(PLAIN).astype("Int64"),
        [pd.Series(row) for row in PLAIN],
        pl.DataFrame(PLAIN),
        [pl.Series(row) for row in PLAIN],
        pa.array(PLAIN.ravel().tolist()).to_numpy().reshape(2, 3),
        Tensor(PLAIN, follows=True),
        Tensor(PLAIN, bfloat16=True),
        [Tensor(row) for row in PLAIN],
        memoryview(PLAIN),
    ],
)
def test_the_same_numbers_in_every_form_give_the_same_array(value):
    np.testing.assert_array_equal(numbers(value, "x"), PLAIN)


@pytest.mark.parametrize(
    "value",
    [
        [1.0, None, 3.0],
        [1, np.nan, 3],
        np.ma.masked_array([1, 2, 3], mask=[False, True, False]),
        pd.Series([1, None, 3], dtype="Int64"),
        pd.Series([1.0, pd.NA, 3.0], dtype=object),
        pl.Series([1, None, 3]),
        pa.array([1, None, 3]),
    ],
)
def test_a_missing_number_is_nan(value):
    np.testing.assert_array_equal(numbers(value, "x"), [1, np.nan, 3])
    assert whole_numbers(value, "x", missing=-1).tolist() == [1, -1, 3]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([1 + 2j]), r"x: expected real numbers, found complex ones \(complex128\)"),
        ([1 + 0j, 2], r"x: expected real numbers"),
        (np.array([1, 2j], object), r"x\[1\]: expected a number, found 2j"),
        (["1.5", "2"], r"x: expected numbers, found texts"),
        (np.array([[1, "a"]], object), r"x\[0, 1\]: expected a number, found 'a'"),
        ([b"ab"], r"x: expected numbers, found bytes"),
        (np.array(["2024-01-01"], "M8[D]"), r"x: expected numbers, found dates"),
        (np.zeros(2, [("a", "f4")]), r"x: expected numbers, found named fields"),
        ([[1, 2], [3]], r"x: expected an array, found lists of different lengths"),
        ("abc", r"x: expected an array, found the text 'abc'"),
        ({"a": [1]}, r"x: expected an array, found a dictionary of 'a'"),
        ({1, 2}, r"x: expected an array, found set"),
        ((one for one in [1, 2]), r"x: expected an array, found generator"),
        (None, r"x: expected an array, found NoneType"),
        ([{"a": 1}], r"x\[0\]: expected a number, found dict"),
        ([[1, 10**400]], r"x\[0, 1\]: expected a number, found a larger one than a double holds"),
    ],
)
def test_anything_but_an_array_of_numbers_is_refused_with_the_name_of_the_argument(value, message):
    with pytest.raises(ShapeError, match=message) as caught:
        numbers(value, "x")
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (pa.array([2**62 + 1, None]), [2**62 + 1, None]),
        (pa.chunked_array([[2**62 + 1], [None]]), [2**62 + 1, None]),
        (pl.Series([2**62 + 1, None]), [2**62 + 1, None]),
        (pd.Series([2**62 + 1, None], dtype="Int64"), [2**62 + 1, None]),
        (pd.Series([2**62 + 1, None], dtype=pd.ArrowDtype(pa.int64())), [2**62 + 1, None]),
        (np.ma.masked_array([2**62 + 1, 3], mask=[False, True]), [2**62 + 1, None]),
        (np.ma.masked_array(["a", "b"], mask=[False, True]), ["a", None]),
        (pl.Series(["a", None]), ["a", None]),
        (pl.Series([True, None]), [True, None]),
    ],
)
def test_labels_keep_their_type_beside_missing_ones(value, expected):
    assert as_written(value, "y").tolist() == expected


def test_sparse_matrices_are_refused_with_advice():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(ShapeError, match=r"x: expected a dense array, found a sparse one .*pass x\.toarray\(\)"):
        to_array(sparse.eye(3).tocsr(), "x")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([0.5, 1.0], r"y\[0\]: expected a whole number, found 0\.5"),
        ([[1], [1.5]], r"y\[1, 0\]: expected a whole number, found 1\.5"),
        ([np.inf], r"y\[0\]: expected a whole number, found inf"),
        ([1.0, np.nan], r"y\[1\]: expected a whole number, found a missing one"),
        ([1e300], r"y\[0\]: expected a whole number, found 1e\+300"),
        (["a"], r"y: expected numbers, found texts"),
    ],
)
def test_numbers_with_a_fraction_are_never_truncated(value, message):
    with pytest.raises(ShapeError, match=message):
        whole_numbers(value, "y")


def test_whole_numbers_of_any_type_are_taken():
    for array in (np.array([0, 3], np.uint64), np.array([0.0, 3.0], ">f8"), [False, 3], np.array([0, 3], object)):
        assert whole_numbers(array, "y").tolist() == [0, 3]
    assert whole_numbers([2**63], "y").tolist() == [2**63]


def test_columns_of_frames_are_taken_by_name():
    for frame in (pd.DataFrame({"a": [1, 2], 3: [5, 6]}), pl.DataFrame({"a": [1, 2], "3": [5, 6]})):
        found = columns_of(frame, "X")
        assert {name: column.tolist() for name, column in found.items()} == {"a": [1, 2], "3": [5, 6]}
    assert list(columns_of(pa.table({"a": [1]}), "X")) == ["a"]
    twice = pd.DataFrame(np.zeros((2, 2)), columns=["a", "a"])
    with pytest.raises(ShapeError, match="X: expected columns of different names, found 'a' twice"):
        columns_of(twice, "X")


# ---- batches of a Trainer

ROWS, STEPS, WIDTH, CLASSES = 6, 20, 3, 4
X = np.random.default_rng(0).normal(size=(ROWS, STEPS, WIDTH)).astype(np.float32)
Y = np.arange(ROWS) % CLASSES


def classifier(**model):
    base = {
        "input": {"kind": "features", "n_features": WIDTH},
        "target": {"kind": "sequence_class"},
        "head": {"kind": "prototype", "n_classes": CLASSES},
    }
    return Trainer(settings(model=base | model))


@pytest.mark.parametrize(
    "labels",
    [
        Y[:, None],
        Y.astype(np.uint64),
        Y.astype(float),
        Y.astype(">i4"),
        Y.tolist(),
        pd.Series(Y, index=range(10, 16)),
        pl.Series(Y),
        pd.DataFrame({"label": Y}),
        Tensor(Y),
        np.repeat(Y, 2)[::2],
        Y.astype(object),
    ],
)
def test_class_indices_in_every_form_train_alike(labels):
    expected = classifier().step({"features": X, "sequence_class": Y}).loss
    assert classifier().step({"features": X.tolist(), "sequence_class": labels}).loss == expected


def test_a_missing_label_is_no_target():
    indices, floats = np.where(Y == 1, -1, Y), np.where(Y == 1, np.nan, Y)
    first = classifier().forward_backward({"features": X, "sequence_class": indices})
    assert first["count"] == ROWS - 2
    assert first == classifier().forward_backward({"features": X, "sequence_class": floats})


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (
            X,
            r"batch: expected a dictionary of arrays by name, found \[6, 20, 3\] \(float32\); pass",
        ),
        ([X, Y], r"batch: expected a dictionary of arrays by name, found a list of 2"),
        (None, r"batch: expected a dictionary"),
        ({"features": X[..., 0]}, r"features: expected \[B, T, 3\], found \[6, 20\]; a single row is features\[None\]"),
        ({"features": X[..., :2]}, r"features: expected \[B, T, 3\], found \[6, 20, 2\]"),
        ({"features": X[None]}, r"features: expected \[B, T, 3\], found \[1, 6, 20, 3\]"),
        (
            {"features": [one[: 5 + i] for i, one in enumerate(X)]},
            r"features: expected an array, found lists of different",
        ),
        ({"features": X + 1j}, r"features: expected real numbers, found complex"),
        ({"features": X.astype(str)}, r"features: expected numbers, found texts"),
        (
            {"features": X, "sequence_class": np.eye(CLASSES)[Y]},
            r"sequence_class: expected \[6\], found \[6, 4\]; .*argmax",
        ),
        ({"features": X, "sequence_class": Y[:5]}, r"sequence_class: expected \[6\], found \[5\]"),
        ({"features": X, "sequence_class": Y + 0.5}, r"sequence_class\[0\]: expected a whole number, found 0\.5"),
        ({"features": X, "sequence_class": list("abcdef")}, r"sequence_class: expected numbers, found texts"),
        ({"features": X, "sequence_class": Y + 2**40}, r"sequence_class: expected -2147483648 to 2147483647"),
        (
            {"features": X, "sequence_class": Y, "mask": np.ones((6, 19), bool)},
            r"mask: expected \[6, 20\], found \[6, 19\]",
        ),
        ({"features": X, "segments": [[0, 0]]}, r"segments: expected \[S, 3\], found \[1, 2\]"),
        ({"features": X, 3: Y}, r"batch: expected a known array, found 3"),
        (
            {"features": np.where(X > 1, 1e300, X.astype(float))},
            r"features: row 0, token 3, feature 2: expected a finite number|finite",
        ),
    ],
)
@pytest.mark.parametrize("verb", ["step", "forward_backward", "predict", "hidden", "evaluate"])
def test_a_batch_of_another_shape_is_refused_in_one_line(batch, message, verb):
    if batch is None and verb in ("step", "evaluate"):
        return  # these two take None for the trainer's own data
    given = [batch] if verb == "evaluate" else batch
    with pytest.raises(ShapeError, match=message) as caught:
        getattr(classifier(), verb)(given)
    assert "\n" not in str(caught.value)


def test_axes_of_size_one_may_be_left_out():
    one = classifier(input={"kind": "features", "n_features": 1})
    batch = {"features": X[..., 0], "sequence_class": Y}
    assert one.predict(batch).shape == (ROWS, CLASSES)
    numbers_of = classifier(
        target={"kind": "sequence_values", "n_values": 1}, head={"kind": "linear", "n_outputs": 1, "loss": "squared"}
    )
    assert numbers_of.step({"features": X, "sequence_values": Y.astype(float)}).count == ROWS


def test_one_batch_evaluates_like_a_list_of_one():
    trainer, batch = classifier(), {"features": X, "sequence_class": Y}
    assert trainer.evaluate(batch).values == trainer.evaluate([batch]).values
