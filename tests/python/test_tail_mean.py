"""The mean of the parameters of the last updates of a pass."""

import numpy as np
import pytest

from ssm_hpn.tail_mean import TailMean


class Walk:
    """A model whose parameter `w` is the number of its updates; `still` never changes."""

    def __init__(self, dtype=np.float32):
        self.values = {"w": np.zeros(2, dtype), "still": np.full(3, 0.1, dtype)}

    def parameters(self):
        return {name: values.copy() for name, values in self.values.items()}

    def load_tensors(self, tensors):
        self.values = dict(tensors)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("updates", "averaged"), [(15, [15]), (16, range(13, 17)), (40, range(31, 41)), (200, range(152, 201, 2))]
)
def test_a_pass_ends_with_the_mean_of_its_last_quarter(dtype, updates, averaged):
    model, mean = Walk(dtype), TailMean(updates)
    for n in range(1, updates + 1):
        model.values["w"] = np.full(2, n, dtype)
        mean.updated(model)
        if n < updates:
            assert model.values["w"][0] == n
    np.testing.assert_allclose(model.values["w"], np.mean(list(averaged)), rtol=1e-6)
    np.testing.assert_array_equal(model.values["still"], np.full(3, 0.1, dtype))
    assert {values.dtype for values in model.values.values()} == {np.dtype(dtype)}
