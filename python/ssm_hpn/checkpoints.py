"""Names, retention and discovery of a run's checkpoints. The core reads and writes the checkpoints themselves.

checkpoints/step-00001000/    one folder per checkpoint, whole or absent
checkpoints/latest, best      the name of such a folder, replaced in one rename
"""

import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Final, Literal

from ssm_hpn._core import best_checkpoint, list_checkpoints, mark_best, prune_checkpoints
from ssm_hpn.errors import CheckpointError, nearest, problem
from ssm_hpn.storage import write_whole

FOLDER: Final = "checkpoints"
CONFIG: Final = "config.toml"
METRICS: Final = "metrics.jsonl"
LATEST: Final = "latest"
BEST: Final = "best"
MANIFEST: Final = "MANIFEST.json"
MOST_SHOWN: Final = 8
"""Most runs that a message names; of further ones the number."""
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

    def __init__(self, root: Path, *, keep: int, keep_every: int | None = None) -> None:
        self.root = root
        self.keep = keep
        self.keep_every = keep_every

    def folders(self) -> list[Path]:
        """All checkpoints, newest first, whether or not they verify."""
        return [Path(path) for _, path in sorted(list_checkpoints(str(self.root)), reverse=True)]

    def save(
        self, step: int, write: Callable[[str, str], None], *, best: int | None, spared: Collection[int] = ()
    ) -> Path:
        """Write a checkpoint by `write(root, name)`, note the best, remove what is no longer needed."""
        self.root.mkdir(parents=True, exist_ok=True)
        write(str(self.root), step_name(step))
        self.tidy(best=best, spared=spared)
        return self.root / step_name(step)

    def tidy(self, *, best: int | None, spared: Collection[int] = ()) -> None:
        """Note the newest and the best checkpoint; remove what is no longer needed, and what killed writers left.

        Kept are the newest ones, the best, the two newest that verify, `spared`, and one of each interval.
        """
        if not self.root.is_dir():
            return
        steps = [step for step, _ in list_checkpoints(str(self.root))]
        if steps and self._noted_latest() != (newest := step_name(max(steps))):
            write_whole(self.root / LATEST, f"{newest}\n")
        if best in steps and best_checkpoint(str(self.root)) != best:
            mark_best(str(self.root), best)
        prune_checkpoints(str(self.root), self.keep, [*spared, *of_intervals(steps, self.keep_every)])

    def _noted_latest(self) -> str | None:
        try:
            return (self.root / LATEST).read_text(encoding="utf-8", errors="replace").strip()
        except FileNotFoundError:
            return None

    def mark_best(self, step: int) -> None:
        """Note a checkpoint that is there as the best."""
        mark_best(str(self.root), step)


def of_intervals(steps: Iterable[int], every: int | None) -> list[int]:
    """Of each interval of updates [every k, every (k + 1)), k > 0, the first step that is there.

    >>> of_intervals([5, 10, 15, 20, 31, 35], 10), of_intervals([5, 10], None)
    ([10, 20, 31], [])
    """
    first: dict[int, int] = {}
    for step in sorted(steps) if every else ():
        first.setdefault(step // every, step)  # type: ignore[operator]
    return [step for interval, step in first.items() if interval > 0]


def marked_best(run: Path) -> int | None:
    """The update of the checkpoint of a run that is marked as its best; None where there is none."""
    return best_checkpoint(str(run / FOLDER))


def runs_in(folder: Path) -> list[Path]:
    """The runs directly inside a folder, by name."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and is_run(path))


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run."""
    return any((folder / name).exists() for name in (CONFIG, METRICS, FOLDER))


def near_run(path: Path) -> Path | None:
    """The run beside a path with the most similar name, if any is close."""
    close = nearest(path.name, [run.name for run in runs_in(path.parent)])
    return None if close is None else path.with_name(close)


def no_run(path: Path, wanted: str) -> str:
    """The error about a path that is no run: what was expected, what was found, and runs with a similar name."""
    if not path.exists():
        close = near_run(path)
        advice = "check the path" if close is None else f"did you mean {close}?"
        return problem(path, wanted, "no such file or folder", advice)
    runs = [str(run) for run in runs_in(path)]
    if runs:
        shown = ", ".join(runs[:MOST_SHOWN]) + (f" and {len(runs) - MOST_SHOWN} more" if runs[MOST_SHOWN:] else "")
        return problem(path, wanted, f"a folder of {len(runs)} run{'s' * (len(runs) > 1)}", f"name one: {shown}")
    found = "no run in it" if path.is_dir() else "a file"
    return problem(path, wanted, found, "name the folder of a run, such as runs/NAME-DIGEST")


def find_checkpoint(path: Path, which: Which = "latest") -> Path:
    """The path to load: a checkpoint itself; of a run its best checkpoint, or the run for the newest that verifies."""
    if path.exists() and not path.is_dir():
        raise CheckpointError(no_run(path, "a checkpoint, or a run with checkpoints"))
    root = path / FOLDER if (path / FOLDER).is_dir() else path
    if not (root / LATEST).exists() and not list_checkpoints(str(root)) and step_of(path) is None:
        if path.is_dir() and (is_run(path) or path.name == FOLDER):
            advice = "train on, or wait for the first checkpoint"
            raise CheckpointError(problem(path, "a run with a checkpoint", "none in it yet", advice))
        if not (path / MANIFEST).exists():  # a checkpoint may be saved under any name
            raise CheckpointError(no_run(path, "a checkpoint, or a run with checkpoints"))
    if which == "latest" or step_of(path) is not None:
        return path
    step = best_checkpoint(str(root))
    if step is None:
        raise CheckpointError(problem(root, "a checkpoint marked as best", "none", "load the latest one"))
    return root / step_name(step)
