"""Labels of series as numbers of classes, by the rules of scikit-learn and of this package's files."""

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import assert_all_finite
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from ssm_hpn.classes import SHOWN, Classes, Value, text_of, whole_type
from ssm_hpn.errors import ConfigError, ShapeError, problem, shown
from ssm_hpn.series import Labels, check_lengths, labels_of
from ssm_hpn.warning import warn

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

OF_NUMBERS: Final = "predict numbers by SSMRegressor"


@dataclass(frozen=True, eq=False)
class ClassCodes:
    """Classes, and the class of each series.

    >>> found = ClassCodes.of(["b", None, "a"], [np.zeros((2, 1))] * 3)
    >>> found.classes.tolist(), found.codes.tolist(), found.known.tolist()
    (['a', 'b'], [1, -1, 0], [True, False, True])
    """

    classes: NDArray[Any]
    """[C] labels as given, sorted."""
    codes: NDArray[np.int32]
    """[N] number of the class, -1 for none."""
    labels: NDArray[Any]
    """[N] as given; undefined where there is none."""
    written: Classes
    """As the contract of the data has them."""

    @classmethod
    def of(
        cls,
        y: Any,  # noqa: ANN401 - anything array-like
        series: list[Floats],
        *,
        of_numbers: str = OF_NUMBERS,
    ) -> "ClassCodes":
        """The classes of labels y [N]; None, NaN and NA are none. `of_numbers` says what to do about numbers.

        Raises `ShapeError` for labels that are none, and `ValueError` where there are fewer than two classes.
        """
        labels = read_labels(y, series, of_numbers)
        names, known = labels.values, labels.known
        classes, indices = np.unique(names[known], return_inverse=True)
        if len(classes) < 2:
            raise ValueError("y: expected at least two classes, found one class; a classifier has to choose")
        if labels.classes.alone:
            warn(f"y: each of the {len(classes)} classes has one series, and none to be like it")
        codes = np.full(len(names), -1, np.int32)
        codes[known] = indices
        return cls(classes, codes, names, labels.classes)

    @property
    def known(self) -> NDArray[np.bool_]:
        """[N] whether there is a label."""
        return self.codes >= 0


def read_labels(y: Any, series: Sized, of_numbers: str = OF_NUMBERS) -> Labels:  # noqa: ANN401 - anything array-like
    """The labels [N] of N series, some of which may have none. `of_numbers` says what to do about numbers.

    >>> read_labels(["a", None, "b"], range(3)).known.tolist()
    [True, False, True]
    """
    found = labels_of(y)
    names, known = column_or_1d(found.values, warn=True), found.known.reshape(-1)
    check_lengths(series, names, "y")
    if not known.any():
        raise ShapeError(problem("y", "a label for some of the series", "NaN or None for each", "give it labels"))
    if names.dtype.kind == "f":
        assert_all_finite(names[known], input_name="y")
    if found.classes.type != "text":  # scikit-learn does not count bytes as labels
        check_classes(names[known], of_numbers)
    return Labels(names, known, found.classes)


class NamedClasses(NamedTuple):
    """The classes after one more call of partial_fit."""

    classes: NDArray[Any]
    """[C] labels, sorted."""
    written: Classes
    """With the number of series of each so far."""
    places: Ints | None
    """Where classes are new: the places among all of those that were there before."""

    @property
    def seen(self) -> int:
        """Number of classes that have series."""
        return sum(count > 0 for count in self.written.counts)


def named_classes(
    labels: Labels,
    given: Any,  # noqa: ANN401 - anything array-like
    before: tuple[NDArray[Any], Classes | None] | None,
    *,
    add_classes: bool,
) -> NamedClasses:
    """The classes after a call with these labels, with the argument `classes` if any, and the classes before if any.

    Raises `ShapeError` for labels that are no class, unless they are to be added.

    >>> found = named_classes(read_labels(["a", "c"], range(2)), ["a", "b", "c"], None, add_classes=False)
    >>> found.classes.tolist(), found.written.counts, found.seen
    (['a', 'b', 'c'], (1, 0, 1), 2)
    """
    here, written = np.unique(labels.values[labels.known]), labels.classes
    named = here
    if given is not None:
        all_given = labels_of(given)
        named = np.unique(column_or_1d(all_given.values)[all_given.known.reshape(-1)])
        check_type(written, all_given.classes, "y")
        written = replace(all_given.classes, counts=(0,) * len(all_given.classes)).joined(written, name="y")
    known = named
    if before is not None:
        known, so_far = before
        assert so_far is not None
        check_type(written, so_far, "y")
        written = so_far.joined(written, name="y")
    wanted = together(here, named)
    new = np.unique(wanted[places_of(wanted, known) < 0])
    if len(new) and not add_classes:
        them = "it is a new one" if len(new) == 1 else "they are new ones"
        advice = f"call add_classes([{listed(new)}]) before, or pass add_classes=True, if {them}"
        raise ShapeError(problem("y", f"a class ({listed(known)})", listed(new), advice))
    classes = np.unique(together(known, new)) if len(new) else known
    if len(classes) < 2:
        raise ValueError("y: expected at least two classes, found one class; name all of them by classes=")
    return NamedClasses(classes, written, places_of(known, classes) if len(new) and before is not None else None)


def check_classes(labels: NDArray[Any], of_numbers: str = OF_NUMBERS, name: str = "y") -> None:
    """Refuse numbers with fractions as classes, by scikit-learn's rule and in words that its own checks look for.

    >>> check_classes(np.array([1.0, 3.0]))
    """
    try:
        with np.errstate(invalid="ignore"):  # it looks whether large numbers are whole ones
            check_classification_targets(labels)
    except ValueError as error:
        found = str(error).partition(". ")[0]
        raise ShapeError(problem(name, "classes", found, of_numbers)) from None


def places_of(labels: NDArray[Any], classes: NDArray[Any]) -> Ints:
    """The place of each label [N] among the classes [C]; -1 for one that is none of them.

    >>> places_of(np.array([b"b", b"c"]), np.array(["a", "b"])).tolist()
    [1, -1]
    """
    places = {_key(one): place for place, one in enumerate(classes.tolist())}
    return np.array([places.get(_key(one), -1) for one in labels.tolist()], np.int64)


def together(one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    """The labels of both in one array; whole numbers stay what they are, of which numpy makes doubles.

    >>> together(np.array([1]), np.array([2**63 + 5], np.uint64)).tolist()
    [1, 9223372036854775813]
    """
    if one.dtype.kind in "iu" and other.dtype.kind in "iu" and np.result_type(one, other).kind == "f":
        values = [*one.tolist(), *other.tolist()]
        return np.array(values, whole_type(values) or object)
    return np.concatenate([one, other])


def with_labels(classes: NDArray[Any], new: Sequence[Value]) -> NDArray[Any]:
    """Labels of classes and new ones, in the type of the former where it holds them, sorted.

    >>> with_labels(np.array([b"a", b"c"]), ["b"]).tolist(), with_labels(np.array([0, 2]), [1]).dtype.kind
    ([b'a', b'b', b'c'], 'i')
    """
    labels: list[Any] = [str(one).encode() for one in new] if classes.dtype.kind == "S" else list(new)
    longest = None if classes.dtype.kind in "SU" else classes.dtype
    try:
        added = np.array(labels, longest)
    except OverflowError:  # whole numbers that are larger, or of another sign
        added = np.array(labels, whole_type(labels) or object)
    if added.tolist() != labels:  # doubles, where the classes are in single precision
        added = np.array(labels)
    return np.unique(together(classes, added))


def by_label(given: Mapping[Any, Any], classes: NDArray[Any], name: str) -> dict[int, Any]:
    """What a mapping has for the classes [C], by their places; its keys are written as the labels are.

    Raises `ConfigError`, as scikit-learn does, for keys that are no labels where some labels are left out: they may be
    meant for these.

    >>> by_label({1: "a", 3: "c"}, np.array([1.0, 2.0, 3.0]), "class_vectors")
    {0: 'a', 2: 'c'}
    """
    places = {_key(one): place for place, one in enumerate(classes.tolist())}
    found = {_key(key.item() if isinstance(key, np.generic) else key): one for key, one in given.items()}
    unknown = [key for key in found if key not in places]
    if unknown and places.keys() - found.keys():
        expected = f"labels of y ({listed(classes)}) as keys"
        raise ConfigError(problem(name, expected, shown(unknown[0]), "write them as the labels are"))
    return {places[key]: one for key, one in found.items() if key in places}


def weights_by_label(given: Mapping[Any, Any], classes: NDArray[Any]) -> Floats:
    """The weight of each class [C], 1 for those that are left out; keys are written as the labels are.

    Raises `ConfigError` for weights that are no finite numbers from 0 on, and for keys as `by_label` does.

    >>> weights_by_label({"1": 2}, np.array(["1", "x"])).tolist()
    [2.0, 1.0]
    """
    found = by_label(given, classes, "class_weight")
    each = np.ones(len(classes))
    for place, weight in found.items():
        if not isinstance(weight, Real) or not 0 <= float(weight) < np.inf:
            there = f"{float(weight):g}" if isinstance(weight, Real) else shown(weight)
            where = f"class_weight[{classes.tolist()[place]!r}]"
            raise ConfigError(problem(where, "a finite number, not below 0", there, "correct it"))
        each[place] = float(weight)
    return each


def check_type(found: Classes, fitted: Classes, name: str, *, known: bool = True) -> None:
    """Refuse labels of another type than those of fit; whole numbers and others go together.

    >>> check_type(Classes.from_values([1.0]), Classes.from_values([1, 2]), "y")
    """
    if found.type != fitted.type and not {found.type, fitted.type} <= {"integer", "number"}:
        of = found.type if known else "NaN or None for each"
        expected = f"labels of the type {fitted.type}, as in fit"
        raise ShapeError(problem(name, expected, of, "give the labels of fit"))


def listed(labels: NDArray[Any]) -> str:
    """Some labels for a message.

    >>> listed(np.arange(10))
    '0, 1, 2, 3, 4, 5, 6, 7 and 2 more'
    """
    more = f" and {len(labels) - SHOWN} more" * (len(labels) > SHOWN)
    return ", ".join(map(repr, labels[:SHOWN].tolist())) + more


def _key(label: object) -> object:
    return text_of(label) if isinstance(label, bytes) else label
