"""`Growing`: layers and classes that a model gets while it is in use, and tensors that are no longer trained."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from ssm_hpn.arrays import LARGEST_SEED, whole_number, whole_numbers_of
from ssm_hpn.config.bounds import bounds
from ssm_hpn.config.model import PrototypeHead
from ssm_hpn.errors import ConfigError, problem, shown
from ssm_hpn.model_in_use import ModelInUse
from ssm_hpn.warning import warn

MOST_LAYERS: int = bounds("model.n_layers")["le"]
MOST_CLASSES: int = bounds("model.head.n_classes")["le"]


class Growing(ModelInUse):
    """Growing and freezing of a `Learner`; no output changes until training goes on."""

    def expand(
        self,
        kind: Literal["append", "prepend", "insert", "final"] = "append",
        *,
        count: int = 1,
        at: int | None = None,
        positions: Sequence[int] | None = None,
        seed: int = 0,
    ) -> list[int]:
        """Insert layers that change no output yet and learn from the next update on; returns their positions.

        `insert` puts `count` layers before layer `at`; `final` puts new layers at these positions of the grown model.
        """
        plan: dict[str, Any] = {"kind": kind, "seed": whole_number(seed, "expand, seed", most=LARGEST_SEED)}
        if kind == "final":
            plan["positions"] = whole_numbers_of(positions or (), "expand, positions", most=MOST_LAYERS)
        else:
            plan["count"] = whole_number(count, "expand, count", least=1, most=MOST_LAYERS)
        if kind == "insert":
            plan["at"] = whole_number(at, "expand, at", most=MOST_LAYERS)
        new = self.session.expand(json.dumps(plan))
        self.config = self._with_model_of(self.session)
        return new

    def freeze(
        self,
        *,
        first: int = 0,
        layers: Sequence[int] = (),
        embedding: bool = False,
        head: bool = False,
        patterns: Sequence[str] = (),
    ) -> list[str]:
        """Freeze tensors by layer, part or pattern of names; returns the frozen ids.

        A new call replaces the last one; without arguments everything is trained again.
        """
        spec = {
            "first": whole_number(first, "freeze, first", most=MOST_LAYERS),
            "layers": whole_numbers_of(layers, "freeze, layers", most=MOST_LAYERS),
            "embedding": embedding,
            "head": head,
            "patterns": list(patterns),
        }
        return self.session.freeze(json.dumps(spec))

    def add_classes(self, names: Sequence[Any] | int, *, warn_doubts: bool = True) -> list[int]:
        """Add classes behind those of a prototype head; returns their places among the scores.

        `names` are written as the labels of the data are; where the model has no names of its classes, as without
        prepared data, it is their number. Prototypes that are there stay, and all scores among old classes with them,
        to the bit, until training goes on. Spare prototypes are used first (`model.head.spare`), others are placed
        where the nearest one is farthest. Moments and counts of updates stay; learnable prototypes lose
        theirs.

        Raises `DataError` for names that are no new classes, `ConfigError` for another head, for a regression, for a
        language model, and where there is no room for a further prototype. A name that may be a class that is there, as
        it differs only in case or otherwise little, is warned of, unless `warn_doubts` is False.

        >>> from ssm_hpn import Trainer
        >>> model = {"input": {"kind": "features", "n_features": 1}, "target": {"kind": "sequence_class"}, "d_model": 8}
        >>> trainer = Trainer({"model": model | {"n_layers": 1, "head": {"kind": "prototype", "n_classes": 2}}})
        >>> batch = {"features": [[[0.5], [1.0]]]}
        >>> before = trainer.predict(batch)
        >>> trainer.add_classes(1), bool((trainer.predict(batch)[:, :2] == before).all())
        ([2], True)
        """
        classes = None if self.contract is None else self.contract.classes
        if classes is None:
            count, unused = _number_of_classes(names), 0
        else:
            grown = classes.with_added(names)  # type: ignore[arg-type]
            count, unused = len(grown) - len(classes), self._unused(len(classes))
        if count <= unused:
            new = list(range(len(grown) - count, len(grown)))
        else:
            last = self.session.add_classes(count - unused)[-1]
            new = list(range(last + 1 - count, last + 1))
        if self.contract is not None and classes is not None:
            self.contract = replace(self.contract, classes=grown)
            for doubt in grown.doubts(classes) if warn_doubts else ():
                warn(f"add_classes: {doubt}")
        if self.temperature is not None:
            there = np.arange(len(self.temperature.frequencies))
            self.temperature = self.temperature.with_classes(there, new[-1] + 1)
        self.config = self._with_model_of(self.session)
        return new

    def _unused(self, classes: int) -> int:
        """Classes of the prototype head beyond those of the data, where it was made with more."""
        head = self.config.model.head
        return head.n_classes - classes if isinstance(head, PrototypeHead) and head.n_classes is not None else 0


def _number_of_classes(given: object) -> int:
    """How many classes there are to add where they have no names."""
    if not isinstance(given, int | np.integer):
        expected, advice = "a number of classes, as this model has no names of them", "give how many to add"
        raise ConfigError(problem("add_classes, names", expected, shown(given), advice))
    return whole_number(given, "add_classes, names", least=1, most=MOST_CLASSES)
