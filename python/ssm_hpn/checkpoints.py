"""Names, retention and discovery of a run's checkpoints. What a checkpoint is, the core knows.

checkpoints/step-00001000/    one folder per checkpoint, whole or absent
checkpoints/latest, best      the name of such a folder, replaced in one rename
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from ssm_hpn._core import best_checkpoint, list_checkpoints, mark_best, prune_checkpoints
from ssm_hpn.errors import CheckpointError, problem

FOLDER: Final = "checkpoints"
Which = Literal["latest", "best"]
_NAME: Final = re.compile(r"^step-(\d{8,})$")


def step_name(step: int) -> str:
    """Name of the checkpoint after a number of updates."""
    return f"step-{step:08d}"


def step_of(folder: Path) -> int | None:
    """The number of updates in a checkpoint's name; None for any other name."""
    match = _NAME.match(folder.name)
    return int(match[1]) if match else None


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, root: Path, *, keep: int) -> None:
        self.root = root
        self.keep = keep

    def folders(self) -> list[Path]:
        """All checkpoints, newest first, whether or not they verify."""
        return [Path(path) for _, path in sorted(list_checkpoints(str(self.root)), reverse=True)]

    def save(self, step: int, write: Callable[[str, str], None], *, best: bool) -> Path:
        """Write a checkpoint by `write(root, name)`, note it as the best, remove what is no longer needed."""
        self.root.mkdir(parents=True, exist_ok=True)
        write(str(self.root), step_name(step))
        if best:
            mark_best(str(self.root), step)
        prune_checkpoints(str(self.root), self.keep)
        return self.root / step_name(step)


def find_checkpoint(path: Path, which: Which = "latest") -> Path:
    """What to load: a checkpoint as it is; of a run its best, or the run itself for the newest that verifies."""
    root = path / FOLDER if (path / FOLDER).is_dir() else path
    if not path.exists():
        raise CheckpointError(
            problem(path, "a checkpoint, or a run with checkpoints", "no such folder", "check the path")
        )
    if which == "latest" or step_of(path) is not None:
        return path
    step = best_checkpoint(str(root))
    if step is None:
        raise CheckpointError(problem(root, "a checkpoint marked as best", "none", "load the latest one"))
    return root / step_name(step)
