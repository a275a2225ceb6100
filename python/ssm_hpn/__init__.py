"""Training selective state space models with hyperspherical prototype heads on CPUs.

    from ssm_hpn import Trainer

    trainer = Trainer({"model": {"d_model": 64, ...}, "optim": {"lr": 1e-3}, ...})
    update = trainer.step({"tokens": tokens})

What stands here is imported when it is first used, so that a command that is interrupted while it starts can say so.
Heavier parts (data preparation, reports, the command line) are imported when they are used, too.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ssm_hpn._core import Batch, __version__
    from ssm_hpn.callbacks import Callback, Event
    from ssm_hpn.config import Config, load_config
    from ssm_hpn.errors import Error
    from ssm_hpn.evaluation import Evaluation
    from ssm_hpn.trainer import Trainer
    from ssm_hpn.training import Result
    from ssm_hpn.update import Update

__all__ = [
    "Batch",
    "Callback",
    "Config",
    "Error",
    "Evaluation",
    "Event",
    "Result",
    "Trainer",
    "Update",
    "__version__",
    "load_config",
]
_MODULES: Final = {
    "Batch": "_core",
    "Callback": "callbacks",
    "Config": "config",
    "Error": "errors",
    "Evaluation": "evaluation",
    "Event": "callbacks",
    "Result": "training",
    "Trainer": "trainer",
    "Update": "update",
    "__version__": "_core",
    "load_config": "config",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - anything of the package
    """A name of `__all__`, or a module of the package."""
    if name in _MODULES:
        value = getattr(import_module(f"ssm_hpn.{_MODULES[name]}"), name)
        globals()[name] = value
        return value
    try:
        return import_module(f"ssm_hpn.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"ssm_hpn.{name}":
            raise
    raise AttributeError(f"module 'ssm_hpn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
