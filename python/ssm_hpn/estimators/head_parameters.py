"""The head of a classifier's backbone: its settings from the parameters, and which of these contradict each other."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Self, get_args, get_type_hints

from numpy.typing import NDArray

from ssm_hpn.arrays import one_of, whole_number
from ssm_hpn.class_vectors import ClassVectors
from ssm_hpn.classes import text_of
from ssm_hpn.config.model import MADE_FROM_VECTORS
from ssm_hpn.errors import ConfigError, problem, shown
from ssm_hpn.estimators.class_codes import by_label

HEADS: Final = ("auto", "prototype", "linear")
WITHOUT_PROTOTYPES: Final[dict[str, Any]] = {"prototypes": "auto", "prototype_dim": None, "assignment": "given"}
"""Parameters of prototypes, and their values where there are none."""


@dataclass(frozen=True, kw_only=True)
class HeadParameters:
    """The parameters of a classifier that are about the head of its backbone.

    >>> from ssm_hpn.estimators import SSMClassifier
    >>> HeadParameters.of(SSMClassifier(prototype_dim=4)).settings(6)
    {'kind': 'prototype', 'n_classes': 6, 'loss': {'kind': 'cosine'}, 'dim': 4}
    """

    head: Any
    loss: Any
    prototypes: Any
    prototype_dim: Any
    assignment: Any
    class_vectors: Any

    @classmethod
    def of(cls, estimator: object) -> Self:
        """Those of an estimator, of which a wrong one is refused.

        Raises `ConfigError` for values that there are not, for prototypes that a linear head has not, and for class
        vectors without a use.
        """
        found = cls(**{field.name: getattr(estimator, field.name) for field in fields(cls)})
        hints = get_type_hints(type(estimator))
        advice = "choose one of these, and pass vectors as class_vectors"
        one_of(found.head, "head", HEADS)
        one_of(found.loss, "loss", get_args(hints["loss"]))
        for name in ("prototypes", "assignment"):
            one_of(getattr(found, name), name, get_args(hints[name]), advice)
        if found.prototype_dim is not None:
            whole_number(found.prototype_dim, "prototype_dim", least=2)
        for name, without in WITHOUT_PROTOTYPES.items():
            if found.head == "linear" and (value := getattr(found, name)) != without:
                expected = f"{without!r} beside head='linear', which has no prototypes"
                raise ConfigError(problem(name, expected, shown(value), "leave one of the two out"))
        found._check_vectors()
        return found

    def _check_vectors(self) -> None:
        """Refuse class vectors without a use, or with two, and a use without them."""
        made = self.prototypes in MADE_FROM_VECTORS
        if made and self.assignment == "semantic":
            expected = f"'given' beside prototypes={self.prototypes!r}, which are made from the class vectors"
            raise ConfigError(problem("assignment", expected, "'semantic'", "leave one of the two out"))
        wanted, beside = made, f"prototypes={self.prototypes!r}"
        if self.assignment == "semantic":
            wanted, beside = True, "assignment='semantic'"
        if wanted != (self.class_vectors is not None):
            expected, found = ("a vector for each class", "None") if wanted else ("None", "some")
            advice = "pass prototypes='semantic' or 'given', or assignment='semantic', with class_vectors, or neither"
            raise ConfigError(problem(f"class_vectors beside {beside}", expected, found, advice))

    def settings(self, count: int) -> dict[str, Any]:
        """`model.head` of this number of classes."""
        if self.head == "linear":
            return {"kind": "linear", "n_outputs": count, "loss": "softmax", "bias": True}
        head: dict[str, Any] = {"kind": "prototype", "n_classes": count, "loss": {"kind": self.loss}}
        given = {"prototypes": self.prototypes, "dim": self.prototype_dim, "assignment": self.assignment}
        without = dict(zip(given, WITHOUT_PROTOTYPES.values(), strict=True))
        return head | {name: value for name, value in given.items() if value != without[name]}

    def vectors(self, classes: NDArray[Any]) -> ClassVectors | None:
        """The class vectors, in the order of these labels."""
        given, names = self.class_vectors, [text_of(one) for one in classes.tolist()]
        if given is None:
            return None
        if isinstance(given, Mapping):
            given = {names[place]: vector for place, vector in by_label(given, classes, "class_vectors").items()}
        return ClassVectors.of(given, names)
