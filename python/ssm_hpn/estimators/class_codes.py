"""Labels of series as numbers of classes, by the rules of scikit-learn and of this package's files."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import assert_all_finite
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from ssm_hpn.classes import Classes
from ssm_hpn.errors import ShapeError, problem
from ssm_hpn.series import check_lengths, labels_of, warn

Floats = NDArray[np.float64]


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
        of_numbers: str = "predict numbers by SSMRegressor",
    ) -> "ClassCodes":
        """The classes of labels y [N]; None, NaN and NA are none. `of_numbers` says what to do about numbers.

        Raises `ShapeError` for labels that are none, and `ValueError` where there are fewer than two classes.
        """
        labels = labels_of(y)
        names, known = column_or_1d(labels.values, warn=True), labels.known.reshape(-1)
        check_lengths(series, names, "y")
        if not known.any():
            raise ShapeError(problem("y", "a label for some of the series", "NaN or None for each", "give it labels"))
        if names.dtype.kind == "f":
            assert_all_finite(names[known], input_name="y")
        if labels.classes.type != "text":  # scikit-learn does not count bytes as labels
            _check_classes(names[known], of_numbers)
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


def _check_classes(labels: NDArray[Any], of_numbers: str) -> None:
    """Refuse numbers with fractions as classes, by scikit-learn's rule and in words that its own checks look for."""
    try:
        check_classification_targets(labels)
    except ValueError as error:
        found = str(error).partition(". ")[0]
        raise ShapeError(problem("y", "classes", found, of_numbers)) from None
