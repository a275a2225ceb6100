"""The configuration: sections, loading, the digest, and sizes that are taken from the data."""

from ssm_hpn.config.base import Section
from ssm_hpn.config.data import Columns, DataConfig, PrepareOptions
from ssm_hpn.config.load import as_config, load_config, merge, parse, read_toml, to_toml
from ssm_hpn.config.micro_batches import MicroBatches, check_ranks, for_ranks, micro_batches
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
    "MicroBatches",
    "ModelConfig",
    "OptimConfig",
    "PrepareOptions",
    "RunConfig",
    "Section",
    "TrainConfig",
    "as_config",
    "check_ranks",
    "core_loader",
    "core_model",
    "core_optim",
    "for_ranks",
    "load_config",
    "merge",
    "micro_batches",
    "model_of_core",
    "parse",
    "read_toml",
    "resolve",
    "to_toml",
    "with_vectors",
]
