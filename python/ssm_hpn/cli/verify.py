"""`inspect --verify`: every file of a run, a checkpoint or a prepared folder against its digests, a line each."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ssm_hpn._core import list_checkpoints, verify_checkpoint
from ssm_hpn.checkpoints import CONFIG, FOLDER, MANIFEST, METRICS, is_run, no_run
from ssm_hpn.cli.console import size
from ssm_hpn.config import load_config
from ssm_hpn.counts import counted
from ssm_hpn.dataset import parts_below
from ssm_hpn.errors import EXIT_DONE, CheckpointError, Error, exit_code
from ssm_hpn.metrics_schema import check_rows
from ssm_hpn.run import places_of
from ssm_hpn.run_data import find_again


class Checked(NamedTuple):
    """A part of what was checked."""

    part: str
    found: str
    """How much there is, or what is wrong."""
    error: Error | None


def verified(path: Path) -> list[Checked]:
    """Everything below a path that has digests or a schema. Raises `CheckpointError` where there is nothing of that."""
    found = list(_parts(path))
    if not found:
        raise CheckpointError(no_run(path, "a run, a checkpoint or a prepared folder"))
    return found


def told(found: list[Checked]) -> str:
    """The lines that are printed."""
    width = max(len(one.part) for one in found)
    lines = [f"{'whole  ' if one.error is None else 'damaged'}  {one.part:<{width}}  {one.found}" for one in found]
    damaged = sum(one.error is not None for one in found)
    return "\n".join([*lines, f"{counted(len(found), 'part')}, {damaged} damaged"])


def to_json(found: list[Checked]) -> list[dict[str, Any]]:
    """The same as plain objects."""
    return [{"part": one.part, "whole": one.error is None, "found": one.found} for one in found]


def code_of(found: list[Checked]) -> int:
    """The exit code: that of the first damage."""
    return next((exit_code(one.error) for one in found if one.error is not None), EXIT_DONE)


def _parts(path: Path) -> Iterator[Checked]:
    prepared = parts_below(path)
    for folder in prepared:
        yield _one(str(folder), lambda folder=folder: _shards(folder))
    if prepared:
        return
    if (path / MANIFEST).exists():
        yield _one(path.name, lambda: _checkpoint(path))
        return
    root = path / FOLDER if (path / FOLDER).is_dir() else path
    for _, name in sorted(list_checkpoints(str(root))) if root.is_dir() else []:
        yield _one(Path(name).name, lambda name=name: _checkpoint(Path(name)))
    if is_run(path) and path.name != FOLDER:
        yield from _run(path)


def _run(path: Path) -> Iterator[Checked]:
    """What a run has besides checkpoints."""
    if (path / METRICS).exists():
        yield _one(METRICS, lambda: counted(check_rows(path / METRICS), "row"))
    if not (path / CONFIG).exists():
        return
    yield _one(CONFIG, lambda: f"settings with the digest {load_config(path / CONFIG).digest()[:12]}")
    try:
        located = find_again(load_config(path / CONFIG).data, places_of(path))
    except Error:
        return
    for folder in (located.train, located.validation):
        if folder is not None:
            yield _one(str(folder), lambda folder=folder: _shards(folder))


def _one(part: str, check: Any) -> Checked:  # noqa: ANN401 - a function that gives a text
    try:
        return Checked(part, check(), None)
    except Error as error:
        return Checked(part, str(error), error)


def _shards(folder: Path) -> str:
    from ssm_hpn.prepare import verify_part  # imports pyarrow, so it is imported only when needed

    report = verify_part(folder)
    shards = counted(report["shards"], "shard")
    counts = f"{counted(report['rows'], 'document')}, {counted(report['tokens'], 'token')}"
    return f"{shards}, {counts}, {size(report['bytes'])}"


def _checkpoint(folder: Path) -> str:
    report = verify_checkpoint(str(folder))
    return f"update {report['step']}, schema {report['schema']}, {size(report['bytes'])}"
