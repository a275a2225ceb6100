"""Bounds of numbers, asked from the core, which declares and checks them where it uses the numbers."""

from typing import Any, Final

from ssm_hpn._core import setting_bounds

_BOUNDS: Final = setting_bounds()


def bounds(setting: str) -> dict[str, Any]:
    """The bounds of a setting as arguments of pydantic's `Field`.

    >>> bounds("model.n_layers"), bounds("optim.beta1")
    ({'ge': 1, 'le': 4096}, {'ge': 0.0, 'lt': 1.0})
    """
    return dict(_BOUNDS[setting])
