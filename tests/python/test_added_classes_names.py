"""Names of classes that are added: what they are read as, what is refused, and what a label that is no class says."""

import numpy as np
import pytest

from ssm_hpn.classes import Classes
from ssm_hpn.errors import DataError, ShapeError


def test_new_names_follow_the_classes_and_are_read_by_their_type():
    texts = Classes.from_values(["b", "a", "a"])
    assert texts.with_added(["c", "0"]) == Classes(("a", "b", "c", "0"), "text", (2, 1, 0, 0))
    assert texts.with_added(["c", "0"]).ordered() == Classes(("0", "a", "b", "c"), "text", (0, 2, 1, 0))
    assert Classes.from_values([1, 5]).with_added(["3", np.int64(7)]).values == (1, 5, 3, 7)
    assert Classes.from_values([0.5, 1.0]).with_added([3, "2.5"]).values == (0.5, 1.0, 3.0, 2.5)
    assert Classes((False,), "boolean", (1,)).with_added(["True"]).values == (False, True)


@pytest.mark.parametrize(
    ("classes", "names", "message"),
    [
        (["a", "b"], [], "add_classes: expected at least one name, found none; name the new classes"),
        (["a", "b"], "c", r"add_classes: expected a list of names, found 'c'; write it as a list"),
        (["a", "b"], 3, "add_classes: expected a list of names, found 3"),
        (["a", "b"], ["c", "b"], "add_classes: expected new classes, found 'b', which is a class already"),
        (["a", "b"], ["c", "d", "c"], "add_classes: expected new classes, found 'c', which is there twice"),
        (["a", "b"], ["c", " "], "add_classes: expected names of classes, found ' ', which stands for no label"),
        (["a", "b"], [None], "add_classes: expected names of classes, found None, which stands for no label"),
        (["a", "b"], [3], "add_classes: expected names of the type text, as the classes are, found 3; write them as"),
        (["a", "b"], [["c"]], r"add_classes: expected numbers, texts or true and false, found list"),
        (["a", "b"], ["a "], "add_classes: expected each class written one way, found 'a' and 'a '"),
        ([1, 2], ["x"], "add_classes: expected names of the type integer, as the classes are, found 'x'"),
        ([1, 2], [2.5], "add_classes: expected names of the type integer, as the classes are, found 2.5"),
        ([1, 2], ["2.0"], "add_classes: expected new classes, found 2, which is a class already"),
        (
            [1, 2],
            [2**70],
            "add_classes: expected whole numbers of 64 bits as labels, found 1180591620717411303424; train",
        ),
        ([1, 2**63], ["-1"], "add_classes: expected whole numbers of 64 bits as labels, found 9223372036854775808; tr"),
        ([1, 2], [True], "add_classes: expected names of the type integer, as the classes are, found True"),
        ([0.5, 1.5], [2**53 + 1], "add_classes: expected numbers that a double holds, found 9007199254740993"),
    ],
)
def test_names_that_are_no_new_classes_are_refused(classes, names, message):
    with pytest.raises((DataError, ShapeError), match=message):
        Classes.from_values(classes).with_added(names)


def test_a_label_that_is_no_class_names_the_command_that_adds_it():
    classes = Classes.from_values(["slow", "fast"])
    for label, advice in [
        ("x", "correct it, or add it to the model by add-classes if it is a new one"),
        ("slaw", r"did you mean slow\? else add it to the model by add-classes if it is a new one"),
    ]:
        with pytest.raises(
            DataError, match=rf"label: expected a class of the training data .*, found '{label}'; {advice}"
        ):
            classes.index(label)
