"""Training selective state space models with hyperspherical prototype heads on CPUs.

    from ssm_hpn import Trainer

    trainer = Trainer({"model": {"d_model": 64, ...}, "optim": {"lr": 1e-3}, ...})
    update = trainer.step({"tokens": tokens})

Heavier parts (data preparation, reports, the command line) are imported when they are used.
"""

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
