"""`inspect`: what is in a run, a checkpoint or a prepared folder, and how much memory training takes."""

import glob
import json
import tempfile
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any, Final

from ssm_hpn._core import verify_checkpoint
from ssm_hpn.checkpoints import is_run, no_run, runs_in, step_of
from ssm_hpn.cli.answers import stored_threshold
from ssm_hpn.cli.console import size, table
from ssm_hpn.cli.features import estimate
from ssm_hpn.cli.parser import Parser
from ssm_hpn.cli.prepare import add_data_options, data_options
from ssm_hpn.cli.verify import code_of, to_json, told, verified
from ssm_hpn.config import Config, PrepareOptions, load_config, to_toml
from ssm_hpn.config.base import QUERY
from ssm_hpn.counts import counted
from ssm_hpn.dataset import parts_below, read_manifest
from ssm_hpn.errors import EXIT_DONE, CheckpointError, ConfigError, problem
from ssm_hpn.filter_learner import FilterLearner
from ssm_hpn.filter_training import left_out
from ssm_hpn.foreign import finite, from_json
from ssm_hpn.printable import printable
from ssm_hpn.run import fits_features
from ssm_hpn.run_data import PREPARED
from ssm_hpn.trainer import Trainer

MOST_STRENGTHS: Final = 8
"""Most strengths that are shown."""


def run(arguments: Sequence[str], prog: str) -> int:
    """Inspect; returns the exit code."""
    parser = Parser(
        prog=prog,
        description="What is in a run, a checkpoint, a prepared folder, a configuration or raw data.",
        usage=f"{prog} PATH | --data PATH [--json] [--verify] [--data.OPTION VALUE ...]",
    )
    parser.add_argument(
        "paths", nargs="*", metavar="PATH", help="run, checkpoint, prepared folder, TOML file, or raw data"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--verify", action="store_true", help="compare every file with its digest, a line each")
    add_data_options(parser)
    options = parser.parse_args(arguments)
    settings = data_options(options, options.paths)
    if not settings.train:
        raise ConfigError(problem(prog, "a PATH", "none", "name data, a run, a checkpoint or a configuration"))
    if options.verify:
        parts = [part for path in settings.train for part in verified(Path(path).expanduser())]
        print(json.dumps(to_json(parts), indent=1) if options.json else told(parts))
        return code_of(parts)
    raw = len(settings.train) > 1 or _is_raw(settings.train[0])
    found = _raw(settings) if raw else _inspect(Path(settings.train[0]).expanduser())
    print(json.dumps(found, indent=1) if options.json else _text(found))
    return EXIT_DONE


def _is_raw(text: str) -> bool:
    """Whether a path is neither a run nor another file or folder of this package."""
    if text.startswith(QUERY):
        return True
    path = Path(text).expanduser()
    if glob.has_magic(text) and not path.exists():
        return True
    if parts_below(path) or is_run(path):
        return False
    if runs_in(path):
        return False
    if path.is_dir():
        return not (path / "MANIFEST.json").exists() and path.name != "checkpoints"
    return path.is_file() and path.suffix != ".toml"


def _raw(options: PrepareOptions) -> dict[str, Any]:
    """The contract of raw data, from a preparation that is removed again, and earlier preparations of the same data."""
    from ssm_hpn.prepare import prepare  # imports pyarrow, so it is imported only when needed
    from ssm_hpn.prepare.prepared import older

    with tempfile.TemporaryDirectory(prefix="ssm-hpn-") as folder:
        prepared = prepare(options, Path(folder) / "data")
        others = older(PREPARED, prepared.paths)
        about = {"digest": prepared.data_digest, "prepared": [str(other) for other in others]}
        return {
            "contract": prepared.contract.to_json(),
            "lines": [printable(line) for line in prepared.contract.describe()],
            **about,
        }


def _inspect(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise CheckpointError(no_run(path, "data, a run, a checkpoint or a configuration"))
    parts = parts_below(path)
    if parts:
        return _shards(parts)
    if path.suffix == ".toml":
        return _model(Trainer(load_config(path)))
    if fits_features(path):
        return _features(path)
    trainer = Trainer.load(path)
    found = {"update": trainer.session.step, "digest": trainer.session.digest()}
    if step_of(path) is not None:
        found |= {"verified": verify_checkpoint(str(path))}
    if trainer.temperature is not None:
        found |= {"temperature": trainer.temperature.to_json()}
    return found | {"reject_below": stored_threshold(trainer, path)} | _model(trainer)


def _shards(parts: list[Path]) -> dict[str, Any]:
    """The first part's manifest; the files of all parts are checked against their digests."""
    from ssm_hpn.prepare import verify_part  # imports pyarrow, so it is imported only when needed

    manifest = read_manifest(parts[0])
    keys = ("kind", "vocab_size", "n_features", "columns", "n_classes", "class_names", "n_values", "encoder", "source")
    about = {key: manifest[key] for key in keys if manifest.get(key) is not None}
    return {"prepared": str(parts[0]), "verified": {part.name: verify_part(part) for part in parts}, **about}


def _features(path: Path) -> dict[str, Any]:
    """A model of features: its filters, heads and contract."""
    learner = FilterLearner.load(path)
    found: dict[str, Any] = {"verified": verify_checkpoint(str(path))} if step_of(path) is not None else {}
    bank, classes = learner.model.bank, learner.model.classes
    filters = from_json(bank.filters.config)
    about = {
        "model": "features",
        "effort": learner.config.model.filters.effort,
        "causal": filters["causal"],
        "filters": filters["filters"],
        "competition": filters["competition"],
        "channels": bank.channels,
        "features": bank.count,
        "classes": None if classes is None else len(classes.prototypes),
        "numbers": len(learner.contract.values) if learner.model.numbers else None,
        "strength": learner.model.strengths().tolist(),
        "series": len(classes.labels) if classes is not None else len(learner.model.numbers[0][1].ridge.rows),
        "left_out": finite(left_out(learner.model)),
    }
    return {
        "checkpoint": str(learner.folder),
        "config_digest": learner.config.digest(),
        **found,
        **about,
        "reject_below": stored_threshold(learner, path),
        "contract": [printable(line) for line in learner.contract.describe()],
        "config": learner.config.used(),
    }


def _model(trainer: Trainer) -> dict[str, Any]:
    config = trainer.config
    rows, length = config.train.batch_size, config.data.length or 0
    return {
        "config_digest": config.digest(),
        "parameters": trainer.session.n_parameters,
        "predicted_peak_bytes": trainer.session.predicted_peak_bytes(rows, length),
        "batch": [rows, length],
        "max_prototype_cosine": trainer.session.max_prototype_cosine,
        "tensors": trainer.parameter_table(),
        "contract": [] if trainer.contract is None else [printable(line) for line in trainer.contract.describe()],
        "config": config.model_dump(mode="json"),
    }


def _text(found: dict[str, Any]) -> str:
    if "lines" in found:
        before = [f"prepared   {path}" for path in found["prepared"]]
        return "\n".join([*found["lines"], f"digest     {found['digest']}", *before])
    if found.get("model") == "features":
        return _features_text(found)
    if "prepared" in found:
        return "\n".join(f"{key:<12} {json.dumps(value)}" for key, value in found.items())
    rows = [
        [row["name"], "x".join(map(str, row["shape"])), str(prod(row["shape"])), row["group"], _flags(row)]
        for row in found["tensors"]
    ]
    lines = [f"{key:<15} {found[key]}" for key in ("update", "digest", "config_digest") if key in found]
    if found.get("temperature") is not None:
        lines.append(f"{'scale':<15} {found['temperature']['scale']:.4g} times the scores in probabilities")
    if found.get("reject_below") is not None:
        lines.append(f"{'threshold':<15} confidence {found['reject_below']:.6g}, by evaluate --keep")
    memory = size(found["predicted_peak_bytes"])
    lines += [
        f"{'parameters':<15} {found['parameters']:,}",
        f"{'peak memory':<15} {memory} predicted for a step on {found['batch'][0]} x {found['batch'][1]}",
        "",
        table(["tensor", "shape", "numbers", "group", ""], rows),
        "",
        *found["contract"],
        "",
        to_toml(Config.model_validate(found["config"])),
    ]
    return "\n".join(lines)


def _features_text(found: dict[str, Any]) -> str:
    """One screen about a model of features."""
    strengths = ", ".join(f"{value:.3g}" for value in found["strength"][:MOST_STRENGTHS])
    counts = [
        *([] if found["classes"] is None else [f"prototypes of {counted(found['classes'], 'class', 'classes')}"]),
        *([] if found["numbers"] is None else [counted(found["numbers"], "number")]),
    ]
    causal = ", causal" if found["causal"] else ""
    filters = f"{found['filters']} on the series, competition {found['competition']}"
    lines = [
        f"checkpoint {found['checkpoint']}",
        f"digest     {found['config_digest']}",
        f"model      features, effort {found['effort']}{causal}",
        f"filters    {filters}, {counted(found['channels'], 'channel')}, {counted(found['features'], 'feature')}",
        f"head       {' and '.join(counts)}, strength {strengths}",
        f"fitted to  {counted(found['series'], 'series', 'series')}; each left out: {estimate(found['left_out'])}",
        *(
            []
            if found["reject_below"] is None
            else [f"threshold  confidence {found['reject_below']:.6g}, by evaluate --keep"]
        ),
        *found["contract"],
    ]
    return "\n".join(lines)


def _flags(row: dict[str, Any]) -> str:
    return ", ".join(word for word, on in (("decayed", row["decay"]), ("fixed", not row["trainable"])) if on)
