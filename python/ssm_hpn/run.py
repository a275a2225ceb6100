"""The folder of a run: its settings, its lock, and the small files in it.

config.toml        the settings as resolved
environment.json   versions, instruction set, machine, host, command, and when and in which folder the run began
metrics.jsonl      see `metrics_log`
evaluation.json    the best evaluation (until there is one, the first), with the confusion matrix of few classes
checkpoints/       see `checkpoints`
"""

import json
import os
import platform
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np

from ssm_hpn._core import RunLock, __version__, bf16_unit, build_info, simd
from ssm_hpn.checkpoints import CONFIG, FOLDER, METRICS, Checkpoints, is_run
from ssm_hpn.clock import timestamp
from ssm_hpn.config import Config, parse, to_toml
from ssm_hpn.contract import Contract
from ssm_hpn.counts import counted
from ssm_hpn.errors import ConfigError, DataError, StorageError, problem, shown
from ssm_hpn.evaluation import Evaluation
from ssm_hpn.foreign import finite, from_json, from_toml
from ssm_hpn.storage import write_whole

ENVIRONMENT: Final = "environment.json"
EVALUATION: Final = "evaluation.json"
STATE: Final = "state.json"
"""Name of the state file in the folder of a checkpoint."""
BEGAN_IN: Final = "began_in"
BEGAN: Final = "began"
LOCK: Final = ".lock"
RUNS: Final = "runs"
MOST_TOLD: Final = 3
"""Most settings that a message names."""


def run_folder(config: Config) -> Path:
    """Folder of a resolved configuration's run: `run.folder`, else runs/NAME-DIGEST."""
    if config.run.folder is not None:
        return Path(config.run.folder)
    return Path(RUNS) / f"{config.run.name or 'run'}-{config.digest()[:8]}"


def free_folder(config: Config) -> Path:
    """A folder for a new run: the usual one, or one with a number where that exists."""
    folder = run_folder(config)
    if not is_run(folder):
        return folder
    if config.run.folder is not None:
        advice = "give another run.folder, or go on with --resume auto"
        raise ConfigError(problem("run.folder", "a folder without a run", f"one in {folder}", advice))
    number = 2
    while is_run(folder.with_name(f"{folder.name}-{number}")):
        number += 1
    return folder.with_name(f"{folder.name}-{number}")


def run_of(checkpoint: Path) -> Path:
    """The run of a checkpoint, of the folder of its checkpoints, or the run itself.

    A checkpoint elsewhere, also one in the folder of a run beside its checkpoints, is in no run: it is its own.

    >>> Path("a/checkpoints").mkdir(parents=True)
    >>> run_of(Path("a/checkpoints/step-00000001")).name, run_of(Path("a")).name, run_of(Path("a/grown")).name
    ('a', 'a', 'grown')
    """
    if (checkpoint / FOLDER).is_dir():
        return checkpoint
    place = checkpoint.resolve()
    if place.name == FOLDER:
        return place.parent
    return place.parent.parent if place.parent.name == FOLDER else checkpoint


def places_of(checkpoint: Path) -> list[Path]:
    """Folders that relative paths in a saved configuration may start from.

    The present folder, the one in which the run began, and all above the run: it may be opened from another folder, and
    a whole tree may have been moved.
    """
    run = run_of(checkpoint)
    began = began_in(run)
    places = [Path(), *([] if began is None else [Path(began)]), *run.resolve().parents]
    return list(dict.fromkeys(places))


def began_in(run: Path) -> str | None:
    """The folder in which a run began; None where its files do not say."""
    return _recorded(run, BEGAN_IN)


def _began(run: Path) -> str | None:
    """The time at which a run began; None where its files do not say."""
    return _recorded(run, BEGAN)


def _recorded(run: Path, key: str) -> str | None:
    """A text in environment.json."""
    try:
        found = from_json((run / ENVIRONMENT).read_bytes()).get(key)
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, str) else None


def same_but_steps(config: Config, *, among: Iterable[Path]) -> tuple[Path, Config] | None:
    """The first run whose settings differ from a resolved configuration in a smaller number of updates alone."""
    wanted = _without_steps(config)
    for folder in among:
        saved = saved_config(folder)
        if saved is not None and saved.train.steps < config.train.steps and _without_steps(saved) == wanted:
            return folder, saved
    return None


def same_but_virtual_ranks(config: Config, *, among: Iterable[Path]) -> tuple[Path, Config] | None:
    """The first run whose settings differ from a resolved configuration in the number of virtual ranks alone."""
    for folder in among:
        saved = saved_config(folder)
        if saved is None:
            continue
        train = config.train.model_copy(update={"virtual_ranks": saved.train.virtual_ranks})
        if saved.digest() != config.digest() and saved.digest() == config.model_copy(update={"train": train}).digest():
            return folder, saved
    return None


def saved_config(folder: Path) -> Config | None:
    """The resolved settings of a run: its config.toml, or where that is empty or torn those in a checkpoint."""
    try:
        text = (folder / CONFIG).read_text(encoding="utf-8")
    except (OSError, ValueError):
        text = ""
    return parsed_config(text) or checkpointed_config(folder)


def parsed_config(text: str) -> Config | None:
    """The settings in the text of a config.toml; None for one that is empty or cannot be read."""
    try:
        return parse(from_toml(text)) if text.strip() else None
    except (ValueError, ConfigError):
        return None


def checkpointed_config(folder: Path) -> Config | None:
    """The settings in the newest checkpoint of a run that can be read."""
    found = map(config_in, Checkpoints(folder / FOLDER, keep=2).folders())
    return next((config for config in found if config is not None), None)


def contract_in(run: Path, checkpoint: Path) -> Contract | None:
    """The contract in a checkpoint of a run, else in its newest that can be read; None where none has one."""
    for folder in (checkpoint, *Checkpoints(run / FOLDER, keep=2).folders()):
        try:
            return Contract.from_json(from_json((folder / STATE).read_bytes())["extra"]["contract"])
        except (OSError, ValueError, LookupError, TypeError, DataError):
            continue
    return None


def config_in(checkpoint: Path) -> Config | None:
    """The settings in a checkpoint; None where it has none that can be read."""
    try:
        return parse(from_json((checkpoint / STATE).read_bytes())["extra"]["config"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ConfigError):
        return None


def is_of_a_run(checkpoint: Path) -> bool:
    """Whether a checkpoint has the record of a run, and is no model alone as `Trainer.save` writes it."""
    try:
        return bool(from_json((checkpoint / STATE).read_bytes())["extra"]["extra"])
    except (OSError, ValueError, LookupError, TypeError):
        return True  # whoever reads it says what it lacks


def fits_features(checkpoint: Path) -> bool:
    """Whether a checkpoint, or a run, is one of a model of features, by its settings."""
    config = config_in(checkpoint) or saved_config(run_of(checkpoint))
    return config is not None and config.model.kind == "features"


def renamed(config: Config, *, among: Iterable[Path]) -> Path | None:
    """The first run of the settings and the name of a resolved configuration that lies under another name."""
    for folder in among:
        saved = saved_config(folder)
        if saved is not None and saved.run.name == config.run.name and saved.digest() == config.digest():
            return folder
    return None


def _without_steps(config: Config) -> str:
    """The digest without the number of updates and settings computed from it."""
    schedule = config.optim.schedule
    derived: dict[str, None] = {key: None for key in ("total", "warmup", "decay") if key in type(schedule).model_fields}
    optim = config.optim.model_copy(update={"schedule": schedule.model_copy(update=derived)})
    train = config.train.model_copy(update={"steps": 1})
    return config.model_copy(update={"optim": optim, "train": train}).digest()


class Run:
    """The folder of one run of one configuration."""

    def __init__(self, folder: Path, config: Config) -> None:
        self.folder = folder
        kept = config.checkpoint
        self.checkpoints = Checkpoints(folder / FOLDER, keep=kept.keep, keep_every=kept.keep_every)
        self._config = config
        self._torn = False
        if is_run(folder):
            self._check_owner()

    @property
    def metrics(self) -> Path:
        """The metrics file."""
        return self.folder / METRICS

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from training here; a killed process leaves no lock behind.

        A folder that is made for it goes again if it fails before anything is written.
        """
        existed = self.folder.exists()
        lock = RunLock(str(self.folder))
        try:
            yield
        except BaseException:
            lock.release()
            if not existed:
                self._remove_if_empty()
            raise
        lock.release()

    def _remove_if_empty(self) -> None:
        with suppress(OSError):
            if [file.name for file in self.folder.iterdir()] == [LOCK]:
                (self.folder / LOCK).unlink()
                self.folder.rmdir()

    def clean(self) -> None:
        """Remove the unfinished files that killed processes left; for the holder of the lock."""
        for path in self.folder.glob(".*.partial-*"):
            process = path.name.rpartition("-")[2]
            if process.isdigit() and not _runs(int(process)):
                with suppress(FileNotFoundError):
                    path.unlink()

    def describe(self) -> None:
        """Write the settings and the machine; the folder in which it began stays while its data has the same paths."""
        before, now = saved_config(self.folder), environment()
        if before is not None and before.data.train == self._config.data.train:
            now |= {BEGAN_IN: began_in(self.folder) or now[BEGAN_IN], BEGAN: _began(self.folder) or now[BEGAN]}
        self.write(CONFIG, to_toml(self._config))
        self.write_json(ENVIRONMENT, now)

    def repair(self) -> None:
        """Write the settings again if the file is truncated or missing."""
        if self._torn:
            self.write(CONFIG, to_toml(self._config))

    def write_evaluation(self, evaluation: Evaluation, *, about: Mapping[str, Any]) -> None:
        """Write an evaluation, with `about`, such as the names of the classes."""
        confusion = evaluation.totals.confusion
        found = finite(
            {"step": evaluation.step, "targets": evaluation.totals.count, "metrics": evaluation.values, **about}
        )
        self.write_json(EVALUATION, found | {"confusion": None if confusion is None else confusion.tolist()})

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write one small JSON file."""
        self.write(name, json.dumps(value, indent=1) + "\n")

    def write(self, name: str, text: str) -> None:
        """Write one small file: whole or as it was before."""
        write_whole(self.folder / name, text)

    def _check_owner(self) -> None:
        """Refuse the folder of another run. Truncated settings are restored from a checkpoint."""
        text, ours = self._config_text(), to_toml(self._config)
        stated = None if text is None else parsed_config(text)
        expected = self._config.digest()
        if stated is not None and stated.digest() == expected:
            return
        self._torn = True
        saved = checkpointed_config(self.folder)
        if saved is not None and saved.digest() == expected:
            return
        nothing = text is None and not self.metrics.exists() and not self.checkpoints.folders()
        beginning = nothing or (text is not None and ours.startswith(text))  # empty, or cut as by a power failure
        if saved is None and beginning:
            return
        found = stated or saved
        advice = "name the data and settings of that run, give another run.folder, or leave it out for one of its own"
        if found is None:
            what = "no config.toml" if text is None else "a file that cannot be read as such"
            raise ConfigError(problem(self.folder / CONFIG, "the settings of a run", what, advice))
        wanted = f"an empty folder or the run {expected[:8]}"
        name = f"another run ({found.digest()[:8]}) in {self.folder}, {_other(self._config.differences(found))}"
        raise ConfigError(problem("run.folder", wanted, name, advice))

    def _config_text(self) -> str | None:
        """The content of config.toml, without the zeros that a power failure leaves; None where there is none."""
        file = self.folder / CONFIG
        try:
            return file.read_bytes().rstrip(b"\0").decode(errors="replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"{file}: cannot read: {error.strerror}") from None


def _runs(process: int) -> bool:
    """Whether a process of that id, other than this one, runs on this machine; where that is not known, it may."""
    if process == os.getpid():
        return False
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _other(differences: Mapping[str, tuple[Any, Any]]) -> str:
    """How another run differs, for messages: other data, of which other settings may follow, or the first settings."""
    if "data.digest" in differences:
        here, there = (one[:12] if one else "none" for one in differences["data.digest"])
        return f"of other data (digest {there}, here {here})"
    told = [
        f"{name} {shown(there)} (here {shown(here)})" for name, (here, there) in list(differences.items())[:MOST_TOLD]
    ]
    more = [counted(len(differences) - MOST_TOLD, "other setting")] if len(differences) > MOST_TOLD else []
    return f"with {', '.join([*told, *more])}"


def environment() -> dict[str, Any]:
    """Versions and machine, on which a result may depend besides its configuration."""
    return {
        "ssm_hpn": __version__,
        "simd": simd(),
        "bf16_unit": bf16_unit(),
        "build": build_info(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "host": platform.node(),
        "command": shlex.join(["python", *sys.orig_argv[1:]]),
        BEGAN: timestamp(),
        BEGAN_IN: str(Path.cwd()),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def rss_bytes() -> int:
    """Memory of this process that is in use now; its peak where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return _peak_bytes()
    return pages * os.sysconf("SC_PAGE_SIZE")


def _peak_bytes() -> int:
    if os.name != "posix":
        return 0
    import resource  # does not exist on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
