"""What raw files hold, from the headers of the first one: enough to tell which settings they make something of."""

from pathlib import Path

from ssm_hpn.config.applicable import RawData
from ssm_hpn.config.data import PrepareOptions
from ssm_hpn.prepare.arrays import read_arrays
from ssm_hpn.prepare.roles import settle, steps_per_row
from ssm_hpn.prepare.sources import Source
from ssm_hpn.targets import COLUMNS


def look(sources: list[Source], options: PrepareOptions) -> RawData:
    """What the sources hold. Raises `DataError` for what is wrong at the beginning of the first file."""
    source = sources[0]
    name = source.path.name
    folder = any(Path(path).expanduser().is_dir() for path in (*options.train, *options.validation))
    match source.format:
        case "text":
            return RawData(name, "text", "text", folder=folder)
        case "integers":
            return RawData(name, "integers", "tokens", folder=folder)
        case "npy":
            return _arrays(source, options, folder=folder)
        case _:
            columns = settle(sources, options).columns
            content = "text" if columns.text else "tokens" if columns.tokens else "features"
            targets = frozenset(key for key in COLUMNS if getattr(columns, key))
            steps = steps_per_row(source, options, columns)
            return RawData(name, source.format, content, steps=steps, targets=targets, folder=folder)


def _arrays(source: Source, options: PrepareOptions, *, folder: bool) -> RawData:
    """Arrays have usual names, so what is there does not follow from the settings: the first documents tell."""
    first = next(read_arrays(source, options))
    kind = "npz" if source.path.suffix.lower() == ".npz" else "npy"
    targets = frozenset(key for key in COLUMNS if getattr(first, key) is not None)
    return RawData(source.path.name, kind, first.kind, targets=targets, folder=folder)
