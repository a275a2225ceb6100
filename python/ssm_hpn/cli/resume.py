"""`--resume RUN`: training goes on with the settings and the data of a run.

--resume RUN                 the run goes on, with its own settings and data
--resume RUN --data PATH     the same where the data lies in another place: raw, or prepared again
--resume RUN --optim.lr 1e-4 a run of its own, which starts from the weights of RUN; other settings are RUN's
--resume CHECKPOINT          the same where no run wrote it, but `add-classes` or `Trainer.save`; with RUN's settings
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ssm_hpn._core import list_checkpoints
from ssm_hpn.checkpoints import FOLDER, find_checkpoint
from ssm_hpn.class_vectors import awaits_checkpoint
from ssm_hpn.cli.data import check_prepared, with_prepared_data
from ssm_hpn.cli.parser import TrainRequest
from ssm_hpn.cli.resumed_data import BESIDE, RunData, RunToResume, check_shaping
from ssm_hpn.config import Config, PrepareOptions, merge, parse, to_toml
from ssm_hpn.config.data import FILE_OPTIONS
from ssm_hpn.config.resolve import schedule_of
from ssm_hpn.counts import counted
from ssm_hpn.errors import CheckpointError, ConfigError, nearest, problem, shown
from ssm_hpn.foreign import from_toml
from ssm_hpn.run import config_in, is_of_a_run, run_folder, run_of, saved_config
from ssm_hpn.trainer import Trainer

if TYPE_CHECKING:
    from rich.console import Console

MODES: Final = ("auto", "must", "never")


def check_resume(resume: str) -> None:
    """Refuse what is neither a word that `--resume` knows nor a path that is there."""
    if resume not in MODES and not Path(resume).exists():
        close = nearest(resume, MODES)
        advice = f"did you mean {close}?" if close else "check the path"
        raise CheckpointError(
            problem("--resume", f"{' | '.join(MODES)} or the path of a checkpoint or run", repr(resume), advice)
        )


@dataclass(frozen=True, slots=True)
class Resumed:
    """The settings with which a run is resumed, and its data."""

    config: Config
    """With the data where it lies now, and the folder of the run where it is the same run that goes on."""
    data: RunData
    same: bool
    """Whether it is the same run that goes on."""
    checkpoint: Path
    """The checkpoint."""

    def prepared(self, console: "Console") -> Config:
        """The settings, checked against the data, which is described unless it just was."""
        if self.data.described:
            check_prepared(self.config)
            return self.config
        return with_prepared_data(self.config, console)

    def trainer(self, prepared: Config) -> Trainer:
        """The trainer of what `prepared` gave.

        It writes the paths of the data into its files as a moved folder needs them.
        """
        trainer = Trainer(prepared)
        if awaits_checkpoint(trainer.config.model.head):
            trainer.restore(self.checkpoint)
        trainer.config = self.recorded(trainer.config)
        if self.data.origin is not None and trainer.contract is not None:
            trainer.contract = replace(trainer.contract, origin=self.data.origin)
        return trainer

    def recorded(self, config: Config) -> Config:
        """Resolved settings with the paths that the run has in its files, where it is the same run that goes on."""
        return _with_paths(config, self.data.recorded) if self.same else config


def resumed(request: TrainRequest, console: "Console") -> Resumed:
    """The settings of the checkpoint or run that `--resume` names, under the given ones, and its data.

    Raises `CheckpointError` for what is no run, `ConfigError` for a run that was trained on no files or on other data,
    and `DataError` where its data is not found.
    """
    path = Path(request.resume)
    checkpoint = path if _is_begun(path) else find_checkpoint(path)
    run = run_of(checkpoint)
    saved = saved_config(run) or config_in(checkpoint)
    if saved is None:
        advice = "name the data and the settings too, as when the run began"
        raise CheckpointError(problem(path, "the settings of a run", "none that can be read", advice))
    named = request.config.data
    if named.validation and not named.train:
        advice = "name both, or leave it out: the run has its own held-out part"
        raise ConfigError(problem("data.validation", "data.train beside it", "none", advice))
    if not saved.data.train and not named.train:
        advice = "name some with --data PATH"
        raise ConfigError(problem("--data", f"a path, as {path} was trained on no files", "none", advice))
    going_on = RunToResume(path, checkpoint, saved, console)
    places = ("train", "validation", *((*BESIDE, *FILE_OPTIONS) if named.train else ()))
    given = _without_data(request.settings, going_on.settings, places)
    _check_length(path, saved, given)
    check_shaping(path, going_on.settings, given["data"])
    config = _under(saved, given)
    alone = saved.model.kind != "features" and not is_of_a_run(checkpoint)
    same = config.digest() == saved.digest() and not alone
    if not same and saved.model.kind == "features":
        raise _other_features(path, config, saved)
    if not same:
        config = _under(_reopened(saved), given)
    if "folder" not in (given.get("run") or {}):
        own = saved.run.folder if _is(run_folder(saved), run) else str(run)
        config = config.model_copy(update={"run": config.run.model_copy(update={"folder": own if same else None})})
    data = going_on.named(named, request.settings.get("data") or {}) if named.train else going_on.found()
    paths = {"train": (str(data.located.train),), "validation": ()}
    if data.located.validation is not None:
        paths["validation"] = (str(data.located.validation),)
    if data.located.mix:
        paths["mix"] = tuple(map(str, data.located.mix))
    return Resumed(_with_paths(config, paths), data, same, checkpoint)


def _check_length(path: Path, saved: Config, given: Mapping[str, Any]) -> None:
    """Refuse a length in epochs or tokens: that of a run is a number of updates since it began."""
    for key in ("epochs", "tokens"):
        found = (given.get("train") or {}).get(key)
        if found is not None:
            expected = f"no length in {key} with --resume, as {path} is one of {counted(saved.train.steps, 'update')}"
            advice = "add updates by --more N, or go on from its weights in a run of its own by --train.steps N"
            raise ConfigError(problem(f"train.{key}", expected, found, advice))


def _is_begun(path: Path) -> bool:
    """Whether a path is a run that fits features and was interrupted: it has no checkpoint, and begins anew."""
    saved = saved_config(path) if path.is_dir() else None
    return saved is not None and saved.model.kind == "features" and not list_checkpoints(str(path / FOLDER))


def _other_features(path: Path, config: Config, saved: Config) -> ConfigError:
    """The error for other settings than those of a run of features, which has no weights to start from."""
    name, (here, there) = next(iter(config.differences(saved).items()))
    advice = "leave --resume out and name the data: features are fitted anew"
    return ConfigError(problem(name, f"{shown(there)}, as in {path}", shown(here), advice))


def _without_data(settings: Mapping[str, Any], made: Mapping[str, Any], paths: Collection[str]) -> dict[str, Any]:
    """The given settings without the paths of data, and without those that made the data if they are the same."""
    data = {key: value for key, value in (settings.get("data") or {}).items() if key not in paths}
    shaping = {key: value for key, value in data.items() if key in PrepareOptions.model_fields}
    before = PrepareOptions.model_validate(made)
    if shaping and PrepareOptions.model_validate(merge(made, shaping)) == before:
        data = {key: value for key, value in data.items() if key not in shaping}
    return {**settings, "data": data}


def _with_paths(config: Config, paths: Mapping[str, tuple[str, ...]]) -> Config:
    return config.model_copy(update={"data": config.data.model_copy(update=dict(paths))})


def _under(saved: Config, given: Mapping[str, Any]) -> Config:
    """The given settings laid over saved ones."""
    return parse(merge(from_toml(to_toml(saved)), given))


def _reopened(saved: Config) -> Config:
    """Saved settings whose schedule follows from the number of updates again, where it does so now."""
    schedule = saved.optim.schedule
    follows: dict[str, None] = {}
    for key in sorted({"total", "warmup", "decay"} & set(type(schedule).model_fields)):
        optim = saved.optim.model_copy(update={"schedule": schedule.model_copy(update={key: None})})
        if schedule_of(saved.model_copy(update={"optim": optim})) == schedule:
            follows[key] = None
    optim = saved.optim.model_copy(update={"schedule": schedule.model_copy(update=follows)})
    return saved.model_copy(update={"optim": optim})


def _is(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()
