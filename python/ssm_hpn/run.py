"""The folder of a run: whose it is, who writes to it now, and the small files in it.

config.toml        the settings as resolved
environment.json   versions, instruction set, machine
metrics.jsonl      see `metrics_log`
evaluation.json    the last evaluation, with the confusion matrix where there are few classes
checkpoints/       see `checkpoints`
"""

import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np

from ssm_hpn._core import RunLock, __version__, build_info, simd
from ssm_hpn.checkpoints import FOLDER, Checkpoints
from ssm_hpn.config import Config, load_config, to_toml
from ssm_hpn.errors import ConfigError, problem
from ssm_hpn.evaluation import Evaluation
from ssm_hpn.storage import write_whole

CONFIG: Final = "config.toml"
METRICS: Final = "metrics.jsonl"
ENVIRONMENT: Final = "environment.json"
EVALUATION: Final = "evaluation.json"
LOCK: Final = ".lock"
RUNS: Final = "runs"


def run_folder(config: Config) -> Path:
    """Where a resolved configuration's run lies: runs/NAME-DIGEST, unless it says so itself."""
    if config.run.folder is not None:
        return Path(config.run.folder)
    return Path(RUNS) / f"{config.run.name or 'run'}-{config.digest()[:8]}"


def free_folder(config: Config) -> Path:
    """A folder for a run that starts anew: the usual one, or with a number where that one is taken."""
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


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run."""
    return any((folder / name).exists() for name in (CONFIG, METRICS, FOLDER))


class Run:
    """The folder of one run of one configuration."""

    def __init__(self, folder: Path, config: Config) -> None:
        self.folder = folder
        self.checkpoints = Checkpoints(folder / FOLDER, keep=config.checkpoint.keep)
        self._config = config
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

    def describe(self) -> None:
        """Write the settings and the machine."""
        self.write(CONFIG, to_toml(self._config))
        self.write_json(ENVIRONMENT, environment())

    def write_evaluation(self, evaluation: Evaluation, *, about: Mapping[str, Any]) -> None:
        """Write the last evaluation, and what else is known about the classes."""
        confusion = evaluation.totals.confusion
        found: dict[str, Any] = {"step": evaluation.step, "metrics": evaluation.values, **about}
        self.write_json(EVALUATION, found | {"confusion": None if confusion is None else confusion.tolist()})

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write one small JSON file."""
        self.write(name, json.dumps(value, indent=1) + "\n")

    def write(self, name: str, text: str) -> None:
        """Write one small file: whole or as it was before."""
        write_whole(self.folder / name, text)

    def _check_owner(self) -> None:
        file = self.folder / CONFIG
        expected = self._config.digest()
        found = load_config(file).digest() if file.is_file() else "no config.toml"
        if found != expected:
            advice = "give another run.folder, or leave it out for one of its own"
            wanted = f"an empty folder or the run {expected[:8]}"
            raise ConfigError(problem("run.folder", wanted, f"another run ({found[:14]}) in {self.folder}", advice))


def environment() -> dict[str, Any]:
    """What a result may depend on besides its configuration."""
    return {
        "ssm_hpn": __version__,
        "simd": simd(),
        "build": build_info(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
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
    import resource  # only there

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
