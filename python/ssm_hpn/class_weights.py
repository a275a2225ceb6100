"""How much each class counts in training, from `train.class_weights` and the classes of the data.

    balanced        w_c = n / (C·n_c)       n_c of n targets of the training part are of class c, C classes occur
    NAME=WEIGHT     as given                1 for classes that are not named

Only their proportions matter: the mean of the losses is divided by the sum of the weights.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.config import Config
from ssm_hpn.config.training import class_weights_of
from ssm_hpn.contract import Contract
from ssm_hpn.errors import ConfigError, nearest, problem

SETTING = "train.class_weights"


def class_weights(config: Config, contract: Contract | None, n_classes: int) -> NDArray[np.float64] | None:
    """The weight of each class [C]; None where all count alike.

    Without prepared data classes are named by their numbers, from 0.

    >>> class_weights(Config(train={"class_weights": "1=4"}), None, 3).tolist()
    [1.0, 4.0, 1.0]

    Raises `ConfigError` for a class that the data does not have, and where there is nothing to balance by.
    """
    if not config.train.class_weights:
        return None
    given = class_weights_of(config.train.class_weights)
    classes = None if contract is None else contract.classes
    if given is None:
        if classes is None:
            advice = "name them (NAME=WEIGHT), or prepare data with labels"
            raise ConfigError(problem(SETTING, "data whose classes are counted", "none for balanced", advice))
        return balanced(classes.counts, n_classes)
    names = [str(i) for i in range(n_classes)] if classes is None else classes.names
    weights = np.ones(n_classes)
    for name, weight in given.items():
        if name not in names:
            close = nearest(name, names)
            advice = f"did you mean {close}?" if close else f"there are {_some(names)}"
            raise ConfigError(problem(SETTING, "a class of the data", repr(name), advice))
        weights[names.index(name)] = weight
    return weights


def weights_of_model(config: Config, contract: Contract | None) -> list[float]:
    """The weight of each class of a resolved model, as its session takes them; empty where all count alike.

    >>> weights_of_model(Config(), None)
    []
    """
    head = config.model.head
    count = getattr(head, "n_classes", None) or getattr(head, "n_outputs", None) or 0
    found = class_weights(config, contract, count)
    return [] if found is None else found.tolist()


def balanced(counts: Sequence[int], n_classes: int) -> NDArray[np.float64]:
    """Weights in inverse proportion to the counts; 1 for a class that does not occur.

    >>> balanced((3, 1, 0), 4).round(3).tolist()
    [0.667, 2.0, 1.0, 1.0]
    """
    found = np.zeros(n_classes)
    found[: len(counts)] = counts
    there = found > 0
    weights = np.ones(n_classes)
    weights[there] = found.sum() / (there.sum() * found[there])
    return weights


def _some(names: Sequence[str], most: int = 8) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
