"""`migrate`: runs, checkpoints and prepared folders of an older release, rewritten in the schemas of this one in place.

Each file or folder is replaced whole or not at all; what has the present schema is left as it is. A model or its data
are never changed, only how they are written.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from ssm_hpn._core import RunLock, list_checkpoints, upgrade_checkpoint, verify_checkpoint
from ssm_hpn.checkpoints import CONFIG, FOLDER, MANIFEST, METRICS, is_run, no_run
from ssm_hpn.cli.parser import Parser, path_of
from ssm_hpn.dataset import parts_below, read_manifest
from ssm_hpn.errors import EXIT_DONE, CheckpointError
from ssm_hpn.metrics_log import SCHEMA
from ssm_hpn.metrics_schema import upgrade_rows


def run(arguments: Sequence[str], prog: str) -> int:
    """Migrate; returns the exit code."""
    parser = Parser(prog=prog, description="Rewrite runs, checkpoints and prepared folders of older releases in place.")
    parser.add_argument("paths", nargs="+", metavar="PATH", type=path_of, help="run, checkpoint or prepared folder")
    for path in parser.parse_args(arguments).paths:
        for line in migrated(path):
            print(line)
    return EXIT_DONE


def migrated(path: Path) -> Iterator[str]:
    """Migrate everything that a path holds; a line for each part. Raises `CheckpointError` where there is none."""
    prepared = parts_below(path)
    whole = (path / MANIFEST).exists()
    root = path / FOLDER if (path / FOLDER).is_dir() else path
    folders = [path] if whole else [Path(folder) for _, folder in sorted(_listed(root))]
    if not (prepared or folders or is_run(path)):
        raise CheckpointError(no_run(path, "a run, a checkpoint or a prepared folder"))
    for folder in prepared:
        # Manifests have had one schema, which is the present one; reading refuses any other.
        yield _line(folder, read_manifest(folder)["schema"], read_manifest(folder)["schema"])
    if prepared:
        return
    with _locked(path) if (path / CONFIG).exists() else nullcontext():
        for folder in folders:
            yield _line(folder, upgrade_checkpoint(str(folder)), verify_checkpoint(str(folder))["schema"])
        metrics = path / METRICS
        if not whole and metrics.exists():
            yield _line(metrics, upgrade_rows(metrics), SCHEMA)


@contextmanager
def _locked(run: Path) -> Iterator[None]:
    """No other process writes to a run meanwhile."""
    lock = RunLock(str(run))
    try:
        yield
    finally:
        lock.release()


def _listed(root: Path) -> list[tuple[int, str]]:
    return list_checkpoints(str(root)) if root.is_dir() else []


def _line(path: Path, before: int, now: int) -> str:
    return f"{path}: schema {now}, the present one" if before == now else f"{path}: from schema {before} to {now}"
