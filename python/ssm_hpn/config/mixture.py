"""The weights of several prepared sets as whole numbers: exact shares of the rows, without rounding."""

from fractions import Fraction
from math import gcd, lcm

from ssm_hpn.config.data import DataConfig
from ssm_hpn.counts import counted
from ssm_hpn.errors import ConfigError, problem


def whole_weights(data: DataConfig) -> list[int]:
    """The weights of `data.train` and of each set of `data.mix`, the smallest whole numbers of the same proportions.

    >>> whole_weights(DataConfig(mix=("b", "c"), weights=(0.5, 0.3, 0.2)))
    [5, 3, 2]
    >>> whole_weights(DataConfig())
    [1]
    """
    sets = 1 + len(data.mix)
    if not data.mix and not data.weights:
        return [1]
    if len(data.weights) != sets or not data.mix:
        expected = "none without data.mix" if not data.mix else f"{sets}: of data.train and of each set of data.mix"
        found = counted(len(data.weights), "weight")
        raise ConfigError(problem("data.weights", expected, found, "such as --data.mix b/train --data.weights 0.7,0.3"))
    exact = [Fraction(str(weight)) for weight in data.weights]
    if not all(weight > 0 for weight in exact):
        raise ConfigError(problem("data.weights", "numbers above 0", min(data.weights), "leave the set out"))
    common = lcm(*(weight.denominator for weight in exact))
    whole = [int(weight * common) for weight in exact]
    shared = gcd(*whole)
    return [weight // shared for weight in whole]
