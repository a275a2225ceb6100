"""What is predicted: the core's kinds, class and number together, scales, and partly labelled data."""

import numpy as np
import pytest

from ssm_hpn import Trainer
from ssm_hpn.errors import ShapeError
from support import settings

# ---- tied weights


def test_a_tied_checkpoint_may_have_its_weight_twice():
    given = settings(model={"input": {"kind": "tokens", "vocab_size": 11}, "head": {"kind": "linear", "tied": True}})
    tensors = Trainer(given).parameters()
    weight = tensors["backbone.embedding.weight"]
    loaded = Trainer.from_tensors(given, tensors | {"lm_head.weight": weight})
    np.testing.assert_array_equal(loaded.parameter("backbone.embedding.weight"), weight)
    tensors.pop("backbone.embedding.weight")
    np.testing.assert_array_equal(
        Trainer.from_tensors(given, tensors | {"lm_head.weight": weight}).parameter("embedding.weight"), weight
    )
    with pytest.raises(ShapeError, match=r"lm_head.weight: expected the embedding, as the head is tied"):
        Trainer.from_tensors(given, tensors | {"embedding.weight": weight, "lm_head.weight": weight + 1})
