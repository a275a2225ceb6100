"""Which kind of model is trained: filters with a head in closed form (features), or a backbone.

`model.kind` features or backbone is that one; auto is features for series of numbers with a class or numbers each,
where no setting that a backbone alone has is given, and else a backbone.
"""

from typing import Literal, NamedTuple

from ssm_hpn.config.applicable import backbone_setting
from ssm_hpn.config.root import Config
from ssm_hpn.errors import ConfigError, problem
from ssm_hpn.targets import KINDS

Kind = Literal["features", "backbone"]


class Chosen(NamedTuple):
    """A kind of model."""

    kind: Kind
    because: str | None = None
    """The setting that made it a backbone where features could be fitted."""


def chosen_kind(config: Config, target: str, *, series: bool) -> Chosen:
    """The kind of model for a kind of target and data that is series of numbers, or not.

    Raises `ConfigError` where features are asked for and cannot be fitted.

    >>> chosen_kind(Config(), "sequence_class", series=True).kind
    'features'
    >>> chosen_kind(Config.model_validate({"optim": {"lr": 0.01}}), "sequence_class", series=True)
    Chosen(kind='backbone', because='optim.lr')
    >>> chosen_kind(Config(), "next_token", series=False)
    Chosen(kind='backbone', because=None)
    """
    kind = KINDS[target]
    fit = series and kind.pooled and (kind.has("class") or kind.has("number"))
    wanted = config.model.kind
    if wanted == "features" and not fit:
        expected = "backbone: features are fitted to series of numbers with a class or numbers each"
        found = f"features for {'series of numbers' if series else 'tokens'} with the target {target}"
        raise ConfigError(problem("model.kind", expected, found, "leave it out"))
    if wanted != "auto" or not fit:
        return Chosen("features" if wanted == "features" else "backbone")
    because = backbone_setting(config)
    if because is None:
        return Chosen("features")
    return Chosen("backbone", None if config.data.digest is not None else because)
