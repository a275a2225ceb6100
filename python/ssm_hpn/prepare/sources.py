"""Which files, in which order, in which format.

A path is a file, a folder (read recursively, hidden entries skipped) or a pattern. The order is that of the sorted
relative names, so it does not depend on the file system.
"""

import glob
import hashlib
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pyarrow as pa

from ssm_hpn.config.data import Format, PrepareOptions
from ssm_hpn.errors import DataError, StorageError
from ssm_hpn.prepare.problems import config_error, data_error

SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".npy": "npy",
    ".npz": "npy",
}
COMPRESSED = {".gz", ".bz2", ".zst", ".lz4"}
SAMPLE_BYTES = 1 << 14
ROWS = {"text": "line", "integers": "line", "jsonl": "line", "npy": "index"}
"""What a row is called, by format. Lines and rows are counted from 1, indices from 0."""
FIELDS = {"jsonl": "key", "npy": "array"}
"""What a column is called, by format."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file to read."""

    path: Path
    name: str
    """Relative to the folder it was found in: stable when the folder moves."""
    format: Format

    def row(self, number: int) -> str:
        """A row in a message: `line 7`, `row 7` or `index 7`."""
        return f"{ROWS.get(self.format, 'row')} {number}"

    @property
    def field_noun(self) -> str:
        """What a column is called here: `column`, `key` or `array`."""
        return FIELDS.get(self.format, "column")

    def field(self, name: str) -> str:
        """A column in a message: `column 'x'`, `key 'x'` or `array 'x'`."""
        return f"{self.field_noun} {name!r}"


def find(paths: tuple[str, ...], options: PrepareOptions, *, key: str) -> list[Source]:
    """All files behind `paths`, sorted by name, each once. `key` names the setting in messages."""
    found: dict[Path, Source] = {}
    for text in paths:
        for path, name in _expand(text, options, key=key):
            found.setdefault(path, Source(path, name, _format(path, options)))
    sources = sorted(found.values(), key=lambda source: (source.name, str(source.path)))
    formats = sorted({source.format for source in sources})
    if len(formats) > 1:
        raise config_error(
            key,
            expected="files of one format",
            found=" and ".join(formats),
            advice="choose some with --data.include '*.EXT', or set --data.format",
        )
    return _unique_names(sources)


def fingerprint(sources: list[Source]) -> str:
    """Digest of paths, names, sizes and times of change: fast, for caches."""
    digest = hashlib.sha256()
    for source in sources:
        stat = source.path.stat()
        digest.update(f"{source.path}\0{source.name}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def open_stream(path: Path) -> pa.NativeFile:
    """The file as a byte stream, decompressed if its name says so."""
    try:
        return pa.input_stream(str(path), compression="detect")
    except OSError as error:
        raise StorageError(f"{path}: cannot open the file: {error}") from None


def read_block(stream: pa.NativeFile, path: Path, size: int) -> bytes:
    """The next bytes; a damaged compressed file is a data error."""
    try:
        return bytes(stream.read(size))
    except (OSError, pa.ArrowInvalid) as error:
        raise data_error(
            path, "file", expected="whole compressed data", found=str(error), advice="copy or pack it again"
        ) from None


def _expand(text: str, options: PrepareOptions, *, key: str) -> list[tuple[Path, str]]:
    path = Path(text).expanduser()
    if path.is_file():
        return [(path.resolve(), path.name)]
    if path.is_dir():
        files = [(file.resolve(), file.relative_to(path).as_posix()) for file in _walk(path)]
        chosen = [(file, name) for file, name in files if _wanted(file, name, options)]
        if not chosen:
            raise _nothing_chosen(path, [file for file, _ in files], options)
        return chosen
    if glob.has_magic(text):
        root = _fixed_part(path)
        names = sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207 - absolute patterns too
        found = [file for file in names if file.is_file() and file.stat().st_size]
        matches = [(file.resolve(), file.relative_to(root).as_posix()) for file in found]
        if matches:
            return matches
    raise data_error(
        path, key, expected="a file, a folder or a pattern", found="nothing there", advice="check the spelling"
    )


def _nothing_chosen(folder: Path, files: list[Path], options: PrepareOptions) -> DataError:
    """Why none of a folder's files is taken, and how to have them taken."""
    binary = not options.include and options.format == "auto" and any(file.stat().st_size for file in files)
    if binary:
        found, advice = "binary files", "train on their bytes as they are with --data.encoder bytes"
    else:
        found, advice = "other files", "check the path, or name the files with --data.include"
    wanted = f"files that match {', '.join(options.include)}" if options.include else "readable files"
    return data_error(
        folder, "folder", expected=wanted, found=f"{len(files)} {found}" if files else "no files", advice=advice
    )


def _walk(folder: Path) -> list[Path]:
    """Files below a folder; hidden files and folders are skipped."""
    return sorted(
        file
        for file in folder.rglob("*")
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def _fixed_part(pattern: Path) -> Path:
    """The folder in front of the first part with a wildcard."""
    fixed = Path(pattern.anchor)
    for part in pattern.relative_to(pattern.anchor).parts[:-1] if pattern.anchor else pattern.parts[:-1]:
        if glob.has_magic(part):
            break
        fixed /= part
    return fixed


def _wanted(path: Path, name: str, options: PrepareOptions) -> bool:
    """Whether a file of a folder is taken; empty ones (such as `__init__.py`) have nothing to say."""
    if not path.stat().st_size:
        return False
    if options.include:
        return any(fnmatch(name, pattern) or fnmatch(path.name, pattern) for pattern in options.include)
    if options.format in ("text", "integers") or options.encoder == "bytes":
        return True
    known = _by_suffix(path)
    if options.format != "auto":
        return known == options.format
    return known is not None or b"\0" not in _sample(path)


def _format(path: Path, options: PrepareOptions) -> Format:
    if options.format != "auto":
        return options.format
    if options.encoder == "bytes" and options.columns.text is None:
        return "text"
    known = _by_suffix(path)
    if known:
        return known
    sample = _sample(path)
    words = sample.split()
    integers = len(words) >= 8 and not sample.strip(b"0123456789 \t\r\n")
    return "integers" if integers else "text"


def _by_suffix(path: Path) -> Format | None:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return SUFFIXES.get(suffixes[-1]) if suffixes else None


def _sample(path: Path) -> bytes:
    with open_stream(path) as stream:
        return read_block(stream, path, SAMPLE_BYTES)


def _unique_names(sources: list[Source]) -> list[Source]:
    """Names decide the split and appear in reports: the same name from two folders gets its folder in front."""
    seen: dict[str, int] = {}
    for source in sources:
        seen[source.name] = seen.get(source.name, 0) + 1
    return [
        source if seen[source.name] == 1 else Source(source.path, source.path.as_posix().lstrip("/"), source.format)
        for source in sources
    ]
