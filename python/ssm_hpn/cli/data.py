"""Prepared folders for the data that the user named: raw data is prepared once, under runs/data, and reused."""

import glob
import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ssm_hpn.cli.console import shown_path, size
from ssm_hpn.config import Config, PrepareOptions
from ssm_hpn.config.applicable import RawData, Task, check_raw, check_task
from ssm_hpn.config.base import QUERY
from ssm_hpn.config.kinds import Chosen, chosen_kind
from ssm_hpn.config.resolve import target_kind
from ssm_hpn.config.training import safe_name
from ssm_hpn.contract import Contract
from ssm_hpn.counts import counted
from ssm_hpn.dataset import data_shape, is_prepared, locate, read_manifest
from ssm_hpn.errors import ConfigError, DataError, StorageError
from ssm_hpn.run_data import PREPARED

if TYPE_CHECKING:
    from rich.console import Console

    from ssm_hpn.prepare import Prepared

DEFAULT_NAME: Final = "python-source"
DEFAULT_PROMPT: Final = "def "

Tell = Callable[[str, int, int], None]
Prepare = Callable[[Path, Tell], "Prepared"]
"""Prepares data into a folder, or returns what is prepared there for the same request."""


def with_prepared_data(config: Config, console: "Console", *, scratch: Path | None = None) -> Config:
    """The configuration with prepared folders in `data.train` and `data.validation`, and a name for the run.

    With `scratch`, data that is not prepared yet is prepared in that folder, and nothing else is written or removed.
    """
    data = config.data
    if not data.train:
        _check_default(config)
        if config.evaluation.prompt is None:
            evaluation = config.evaluation.model_copy(update={"prompt": DEFAULT_PROMPT})
            config = config.model_copy(update={"evaluation": evaluation})
        return _using(config, prepare_default(console, scratch=scratch), DEFAULT_NAME)
    if names_prepared(data.train):
        _say(console, check_prepared(config))
        return _named(config, Path(data.train[0]).expanduser().resolve().name)

    def check(found: RawData) -> None:
        evaluates = bool(data.validation) or data.validation_fraction > 0
        target = target_kind(config, found.targets)
        kind = chosen_kind(config, target, series=found.content == "features").kind
        check_task(config, Task(target, evaluates=evaluates, columns=True, model=kind))

    prepared = prepare_raw(data.prepare_options(), console, scratch=scratch, clean=data.clean, check=check)
    return _using(config, prepared, prepared.folder.name.rpartition("-")[0])


def names_prepared(paths: Sequence[str]) -> bool:
    """Whether paths are those of prepared data: one part of it, or the folder of both."""
    if len(paths) != 1 or paths[0].startswith(QUERY):
        return False
    first = Path(paths[0]).expanduser()
    return is_prepared(first) or is_prepared(first / "train")


def _check_default(config: Config) -> None:
    """Refuse settings that have no effect on the default job."""
    from ssm_hpn.prepare.stdlib_corpus import check_default

    check_default(config.data)
    target = target_kind(config, frozenset())
    kind = chosen_kind(config, target, series=False).kind
    check_task(config, Task(target, evaluates=True, model=kind))


def _say(console: "Console", contract: Contract) -> None:
    """The contract of the data in five lines, and its notes."""
    for line in [*contract.summary(), *(f"note       {note}" for note in contract.notes)]:
        console.print(line, markup=False, soft_wrap=True)


def check_prepared(config: Config) -> Contract:
    """Refuse settings without effect on a run on prepared folders; the trainer checks those of the data."""
    train, validation = locate(config.data)
    manifest = {} if train is None else read_manifest(train)
    target = target_kind(config, frozenset(manifest.get("columns", [])))
    kind = chosen_kind(config, target, series=manifest.get("kind") == "features").kind
    check_task(config, Task(target, evaluates=validation is not None, model=kind))
    return Contract.from_manifest(manifest, train or Path())


def kind_for(config: Config) -> Chosen:
    """The kind of model for a configuration with prepared data."""
    train, validation = locate(config.data)
    parts = [read_manifest(folder) for folder in (train, validation) if folder is not None]
    shape = data_shape(*parts)
    return chosen_kind(config, target_kind(config, shape.targets), series=shape.n_features is not None)


def prepare_default(console: "Console", *, parent: Path = PREPARED, scratch: Path | None = None) -> "Prepared":
    """The source text of the standard library, prepared; its folder is named by the files it was made from."""
    from ssm_hpn.prepare import stdlib_corpus  # imports pyarrow

    root, files = stdlib_corpus.corpus_files()
    listing = "\n".join(f"{file} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files)
    digest = hashlib.sha256(listing.encode()).hexdigest()[:8]
    total = size(sum(file.stat().st_size for file in files))
    console.print(f"data       {counted(len(files), 'file')}, {total} of Python source below {root}")
    out = parent / f"{DEFAULT_NAME}-{digest}"
    return _told(console, out, lambda folder, tell: stdlib_corpus.prepare_default(folder, progress=tell), scratch)


def prepare_raw(
    options: PrepareOptions,
    console: "Console",
    *,
    parent: Path = PREPARED,
    scratch: Path | None = None,
    clean: bool = False,
    check: Callable[[RawData], None] = lambda _: None,
    place: Path | None = None,
) -> "Prepared":
    """Raw files, prepared in a folder of `parent` that is named after them, or found there.

    `check` is called with what a first look found, before anything is prepared. `place` is the folder that relative
    paths begin at, where it is not the present one; `parent` is then absolute.
    """
    from ssm_hpn.prepare.look import look
    from ssm_hpn.prepare.pipeline import Raw, cache_keys, prepare_sources
    from ssm_hpn.prepare.prepared import moved_here
    from ssm_hpn.prepare.remote import is_remote
    from ssm_hpn.prepare.sources import size_of

    if is_remote(options):
        return _prepare_stored(options, console, parent=parent, scratch=scratch, clean=clean, check=check)
    start = place or Path()
    with chdir(start):
        raw = Raw.find(options)
        found = look(raw.train, options)
        check_raw(options, found)
        check(found)
        keys = cache_keys(raw, options)
        name = _name_of(options.train)
        count, total = len(raw.train), size(size_of(raw.train))
    out = parent / f"{name}-{keys.key[:8]}"
    if not _holds_anything(out):
        out = moved_here(parent, keys) or out
    console.print(f"data       {counted(count, 'file')}, {total}")

    def prepare(folder: Path, tell: Tell) -> "Prepared":
        with chdir(start):
            return prepare_sources(raw, options, folder, progress=tell)

    return _told(console, out, prepare, scratch, clean=clean)


def _prepare_stored(
    options: PrepareOptions,
    console: "Console",
    *,
    parent: Path,
    scratch: Path | None,
    clean: bool,
    check: Callable[[RawData], None],
) -> "Prepared":
    """Files in an S3 store, prepared in a folder of `parent` that is named after them, or found there."""
    from ssm_hpn.prepare.pipeline import VERSION, prepare_stored
    from ssm_hpn.prepare.remote import key_of, listing

    objects = listing(options)
    name = safe_name(options.train[0].rstrip("/").rpartition("/")[2]) or "data"
    out = parent / f"{name}-{key_of(options, objects, VERSION)[:8]}"
    total = size(sum(one.size for one in objects))
    console.print(f"data       {counted(len(objects), 'object')}, {total} in {options.train[0]}", markup=False)

    def prepare(folder: Path, tell: Tell) -> "Prepared":
        return prepare_stored(options, folder, progress=tell, check=check)

    return _told(console, out, prepare, scratch, clean=clean)


@contextmanager
def _without_trace(folder: Path) -> Iterator[None]:
    """Remove a folder and those above it that were made meanwhile, if they stay empty because something failed."""
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        yield
    except BaseException:
        for one in made:
            with suppress(OSError):
                one.rmdir()
        raise


def _told(console: "Console", out: Path, prepare: Prepare, scratch: Path | None, *, clean: bool = False) -> "Prepared":
    """Prepare, with a line for the progress and some lines for the result."""
    from ssm_hpn.prepare.prepared import older

    with console.status("preparing") as status:

        def tell(stage: str, documents: int, _: int) -> None:
            status.update(f"{stage}: {counted(documents, 'document')}")

        prepared = _usable(out, prepare, tell, record=scratch is None) if _holds_anything(out) else None
        if prepared is None and _holds_anything(out):
            then = "preparing again" if scratch is None else "training will prepare it again"
            console.print(f"           {shown_path(out)} cannot be used as it is: {then}", markup=False)
            if scratch is None:
                shutil.rmtree(out)  # made by this command, from files that still exist
        with _without_trace(out):
            prepared = prepared or prepare(out if scratch is None else scratch / out.name, tell)
    _say(console, prepared.contract)
    others = older(out.parent, prepared.paths, but=out)
    if clean:
        for other in others:
            shutil.rmtree(other)
    if others:
        done = "removed" if clean else "--data.clean removes them"
        names = ", ".join(other.name for other in others)
        console.print(f"           older preparations of the same source: {names} ({done})", markup=False)
    place = shown_path(out) if prepared.folder == out else "a folder that is removed again"
    console.print(f"           digest {prepared.data_digest[:16]}, shards in {place}", markup=False)
    return prepared


def _usable(out: Path, prepare: Prepare, tell: Tell, *, record: bool) -> "Prepared | None":
    """The data prepared in a folder by an earlier call; None if it is damaged or of another version.

    Digests are compared only where a file is not as it was when they last were: reading many GB takes minutes, and
    every record batch is checked against a digest of its own when it is read for training.
    """
    from ssm_hpn.prepare import untouched, verify

    try:
        prepared = prepare(out, tell)
        if not untouched(out):
            verify(out, record=record)
    except StorageError:
        raise  # what the disk does not give now may be whole
    except OSError as error:
        if not isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
            raise
        return None
    except (ConfigError, DataError, LookupError, TypeError, ValueError, AttributeError):
        return None
    return prepared


def _holds_anything(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _using(config: Config, prepared: "Prepared", name: str) -> Config:
    folders: dict[str, Any] = {"train": (str(prepared.train),)}
    folders["validation"] = (str(prepared.validation),) if prepared.validation else ()
    return _named(config.model_copy(update={"data": config.data.model_copy(update=folders)}), name)


def _named(config: Config, name: str) -> Config:
    """Name the run after its data, where it has no name."""
    if config.run.name is not None:
        return config
    return config.model_copy(update={"run": config.run.model_copy(update={"name": safe_name(name) or "run"})})


def _name_of(paths: Sequence[str]) -> str:
    """A name for the data: that of the first file or folder; for a pattern, of the folder that it looks into."""
    if paths[0].startswith(QUERY):
        return "query"
    path = Path(paths[0]).expanduser()
    if path.exists() or not glob.has_magic(str(path)):
        return safe_name(path.stem) or "data"
    while glob.has_magic(str(path)):
        path = path.parent
    return safe_name(path.resolve().name) or "data"
