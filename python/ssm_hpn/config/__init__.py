"""The configuration: sections, loading, the digest, and sizes that are taken from the data."""

from ssm_hpn.config.base import Section
from ssm_hpn.config.data import Columns, DataConfig, PrepareOptions
from ssm_hpn.config.load import as_config, load_config, merge, parse, read_toml, to_toml
from ssm_hpn.config.model import ModelConfig
from ssm_hpn.config.resolve import (
    DataShape,
    core_loader,
    core_model,
    core_optim,
    model_of_core,
    resolve,
    with_vectors,
)
from ssm_hpn.config.root import Config
from ssm_hpn.config.training import (
    CheckpointConfig,
    EarlyStoppingConfig,
    EvaluationConfig,
    OptimConfig,
    RunConfig,
    TrainConfig,
)

__all__ = [
    "CheckpointConfig",
    "Columns",
    "Config",
    "DataConfig",
    "DataShape",
    "EarlyStoppingConfig",
    "EvaluationConfig",
    "ModelConfig",
    "OptimConfig",
    "PrepareOptions",
    "RunConfig",
    "Section",
    "TrainConfig",
    "as_config",
    "core_loader",
    "core_model",
    "core_optim",
    "load_config",
    "merge",
    "model_of_core",
    "parse",
    "read_toml",
    "resolve",
    "to_toml",
    "with_vectors",
]
