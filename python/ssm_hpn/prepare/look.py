"""What raw files hold, from the headers of the first one: enough to tell which settings they make something of."""

from pathlib import Path

import pyarrow as pa

from ssm_hpn.config.applicable import RawData
from ssm_hpn.config.data import PrepareOptions
from ssm_hpn.config.resolve import TARGET_COLUMNS
from ssm_hpn.prepare.arrays import read_arrays
from ssm_hpn.prepare.sources import Source
from ssm_hpn.prepare.tables import resolve, stream


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
            return _table(source, options, folder=folder)


def _arrays(source: Source, options: PrepareOptions, *, folder: bool) -> RawData:
    """Arrays have usual names, so what is there does not follow from the settings: the first document tells."""
    first = next(read_arrays(source, options))
    kind = "npz" if source.path.suffix.lower() == ".npz" else "npy"
    targets = frozenset(key for key in TARGET_COLUMNS if getattr(first, key) is not None)
    content = "features" if first.features is not None else "tokens"
    return RawData(source.path.name, kind, content, targets=targets, folder=folder)


def _table(source: Source, options: PrepareOptions, *, folder: bool) -> RawData:
    """The columns in use tell everything, but for whether those of features hold numbers or lists of numbers."""
    columns = resolve(source, options)
    content = "text" if columns.text else "tokens" if columns.tokens else "features"
    first = next(stream(source, columns), None) if content == "features" else None
    steps = first is not None and not any(pa.types.is_nested(first.columns[name].type) for name in columns.features)
    targets = frozenset(key for key in TARGET_COLUMNS if getattr(columns, key))
    return RawData(source.path.name, source.format, content, steps=steps, targets=targets, folder=folder)
