"""`--resume`: where training goes on, and with which settings and data where the command names no data.

--resume RUN                 the run goes on, with its own settings and data
--resume RUN --optim.lr 1e-4 a run of its own, which starts from the weights of RUN; other settings are RUN's
--resume RUN --data PATH     settings and data are those of the command, as without `--resume`
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ssm_hpn.checkpoints import find_checkpoint
from ssm_hpn.config import Config, merge, parse, to_toml
from ssm_hpn.config.resolve import schedule_of
from ssm_hpn.dataset import find_again
from ssm_hpn.errors import CheckpointError, ConfigError, DataError, nearest, problem
from ssm_hpn.foreign import from_toml
from ssm_hpn.run import config_in, places_of, run_folder, run_of, saved_config

if TYPE_CHECKING:
    from ssm_hpn.trainer import Trainer

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
    """The settings with which a run is resumed that was named alone."""

    config: Config
    """With the data where it lies now, and the folder of the run where it is the same run that goes on."""
    recorded: Config
    """What the run's own files say: its data under the paths it had, from which a moved folder is found again."""

    def record_in(self, trainer: "Trainer") -> None:
        """Let a trainer of `config` write the paths of `recorded` into its checkpoints and its config.toml."""
        paths = {key: getattr(self.recorded.data, key) for key in ("train", "validation")}
        trainer.config = trainer.config.model_copy(update={"data": trainer.config.data.model_copy(update=paths)})


def resumed(path: Path, given: Mapping[str, Any]) -> Resumed:
    """The settings of a checkpoint or run, under the given ones, which name no data.

    Raises `CheckpointError` for what is no run, `ConfigError` for a run that was trained on no files, and `DataError`
    where its data is not found.
    """
    checkpoint = find_checkpoint(path)
    run = run_of(checkpoint)
    saved = saved_config(run) or config_in(checkpoint)
    if saved is None:
        advice = "name the data and the settings too, as when the run began"
        raise CheckpointError(problem(path, "the settings of a run", "none that can be read", advice))
    if "validation" in (given.get("data") or {}):
        advice = "name both, or leave it out: the run has its own held-out part"
        raise ConfigError(problem("data.validation", "data.train beside it", "none", advice))
    config = _under(saved, given)
    same = config.digest() == saved.digest()
    if not same:
        config = _under(_reopened(saved), given)
    if "folder" not in (given.get("run") or {}):
        own = saved.run.folder if _is(run_folder(saved), run) else str(run)
        config = config.model_copy(update={"run": config.run.model_copy(update={"folder": own if same else None})})
    located = _with_data(config, path, checkpoint)
    return Resumed(located, config if same else located)


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


def _with_data(config: Config, path: Path, checkpoint: Path) -> Config:
    """The configuration with the folders in which its data lies now."""
    if not config.data.train:
        advice = "name some with --data PATH"
        raise ConfigError(problem("--data", f"a path, as {path} was trained on no files", "none", advice))
    located = find_again(config.data, places_of(checkpoint))
    if located.train is None:
        expected = f"the data of {path}, with the digest {(config.data.digest or '')[:12]}"
        advice = "bring it back, or give the whole command with which the run began, which prepares it again"
        raise DataError(problem("data.train", expected, f"none in {located.absent}", advice))
    folders: dict[str, Any] = {"train": (str(located.train),)}
    folders["validation"] = () if located.validation is None else (str(located.validation),)
    return config.model_copy(update={"data": config.data.model_copy(update=folders)})
