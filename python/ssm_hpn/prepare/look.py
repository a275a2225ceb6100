"""Content, format and columns of raw files by the header of the first one, to check which settings apply to them."""

from pathlib import Path

from ssm_hpn.config.applicable import RawData
from ssm_hpn.config.base import QUERY
from ssm_hpn.config.data import PrepareOptions
from ssm_hpn.prepare.arrays import read_arrays
from ssm_hpn.prepare.roles import settle, steps_per_row
from ssm_hpn.prepare.source import Source
from ssm_hpn.prepare.sources import reads_like_csv
from ssm_hpn.targets import COLUMNS


def look(sources: list[Source], options: PrepareOptions) -> RawData:
    """Content, format and columns of the sources. Raises `DataError` for errors at the start of the first file."""
    source = sources[0]
    name = source.path.name
    paths = [path for path in (*options.train, *options.validation) if not path.startswith(QUERY)]
    folder = any(Path(path).expanduser().is_dir() for path in paths)
    match source.format:
        case "text":
            like_csv = options.format == "auto" and reads_like_csv(source)
            return RawData(name, "text", "text", folder=folder, like_csv=like_csv)
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
    """Content and targets of arrays by the first documents read, as arrays have usual names without settings."""
    first = next(read_arrays(source, options))
    kind = "npz" if source.path.suffix.lower() == ".npz" else "npy"
    targets = frozenset(first.targets)
    return RawData(source.path.name, kind, first.kind, targets=targets, folder=folder)
