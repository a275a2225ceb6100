"""Which files, in which order, in which format; and every file that is left out, with the reason.

A path is a file, a folder (read recursively, links followed once), a pattern, or `sql:` and a query. The order is that
of the sorted relative names, so it does not depend on the file system. A file counts once, whatever its names: files
and folders are told apart by device and inode.
"""

import csv
import glob
import hashlib
import os
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from ssm_hpn.config.base import QUERY
from ssm_hpn.config.data import Format, PrepareOptions
from ssm_hpn.errors import DataError, StorageError
from ssm_hpn.prepare.problems import config_error, data_error
from ssm_hpn.prepare.source import ENCODED, UTF_16, Source, open_source, read_block

SUFFIXES: Final[dict[str, Format]] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".npy": "npy",
    ".npz": "npy",
}
COMPRESSED: Final = {".gz", ".bz2", ".zst", ".lz4"}
SAMPLE_BYTES: Final = 1 << 14
ARCHIVE: Final = b"PK\x03\x04"
SPREADSHEET_97: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
PARQUET: Final = (b"PAR1", b"PARE")
"""How files of these kinds begin."""
SPREADSHEETS: Final = (".xlsx", ".xlsm", ".ods")
OF_DATASETS: Final = ("dataset_info.json", "state.json")
"""Files that the package datasets writes beside the Arrow files of a data set."""
SPLITS_OF_DATASETS: Final = "dataset_dict.json"
"""The file that it writes beside the folders of several data sets."""


@dataclass(frozen=True, slots=True)
class Found:
    """The sources behind some paths, and the files that are left out."""

    sources: list[Source]
    left_out: list[tuple[str, str]]
    """Name and reason of every file that is not read."""


def find(paths: tuple[str, ...], options: PrepareOptions, *, key: str) -> list[Source]:
    """All files behind `paths`, sorted by name, each once. `key` names the setting in messages."""
    return look_for(paths, options, key=key).sources


def look_for(paths: tuple[str, ...], options: PrepareOptions, *, key: str, held_out: tuple[Source, ...] = ()) -> Found:
    """Like `find`, with what is left out; files of `held_out` are left out of folders and patterns."""
    found: dict[object, Source] = {}
    left_out: list[tuple[str, str]] = []
    taken = {_identity(source.path) for source in held_out if source.content is None}
    for text in paths:
        for source in _expand(text, options, key, left_out):
            mark = source.content if source.format == "sql" else _identity(source.path)
            if mark in taken:
                left_out.append((source.name, "held out by data.validation"))
            elif mark in found:
                left_out.append((source.name, f"the same file as {found[mark].name}"))
            else:
                found[mark] = source
    sources = sorted(found.values(), key=lambda source: (source.name, str(source.path)))
    if paths and not sources:
        advice = "name other files in one of the two"
        raise config_error(key, expected="files besides those of data.validation", found="none", advice=advice)
    by_format = {source.format: source.name for source in reversed(sources)}
    if len(by_format) > 1:
        raise config_error(
            key,
            expected="files of one format",
            found=" and ".join(f"{kind} ({name})" for kind, name in sorted(by_format.items())),
            advice="choose some with --data.include '*.EXT', or set --data.format",
        )
    return Found(_unique_names(sources), left_out)


def fingerprint(sources: list[Source], *, moved: bool) -> str:
    """Digest of names, sizes and times of the files, and of where they lie: fast, for caches.

    With `moved` the numbers of the files on their disk stand for where they lie: they stay when a folder is moved. The
    time of the last change of any kind is part of both, which no program can set: other content is never taken for
    the same.
    """
    digest = hashlib.sha256()
    for source in sources:
        marks: list[object] = [source.name]
        if source.content is not None:
            marks.append(source.content)
        else:
            stat = _stat(source.path)
            number = (stat.st_dev, stat.st_ino) if moved and stat.st_ino else source.path.absolute()
            marks += [number, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
        digest.update("".join(f"{mark}\0" for mark in marks).encode())
    return digest.hexdigest()


def size_of(sources: list[Source]) -> int:
    """Bytes of all files."""
    return sum(_stat(source.path).st_size for source in sources if source.content is None)


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise StorageError(f"{path}: cannot read the file: {error.strerror}") from None


def _identity(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino


def _expand(text: str, options: PrepareOptions, key: str, left_out: list[tuple[str, str]]) -> list[Source]:
    if text.startswith(QUERY):
        return [Source(Path("query"), "query", "sql", text[len(QUERY) :])]
    path = Path(text).expanduser()
    if path.is_file():
        source = Source(path, path.name, _format(path, options), encoding=options.encoding)
        _refuse_packed(source, options)
        return [source]
    if path.is_dir():
        return _folder(path, options, left_out)
    if glob.has_magic(text):
        root = _fixed_part(path)
        if root.is_dir():
            os.scandir(root).close()  # what follows takes a folder that cannot be read for an empty one
        names = sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207 - absolute patterns too
        files = [(file, file.relative_to(root).as_posix()) for file in names if file.is_file()]
        there = [(file, name) for file, name in files if file.stat().st_size]
        left_out += [(name, "empty") for file, name in files if not file.stat().st_size]
        if there:
            return [Source(file, name, _format(file, options), encoding=options.encoding) for file, name in there]
    advice = "check the spelling"
    if any(mark in text for mark in ",; ") or os.pathsep in text:
        advice += '; several paths are written A,B or ["A", "B"]'
    raise data_error(path, key, expected="a file, a folder or a pattern", found="nothing there", advice=advice)


def _folder(folder: Path, options: PrepareOptions, left_out: list[tuple[str, str]]) -> list[Source]:
    _refuse_several_splits(folder)
    chosen, others = [], []
    for file, name in _walk(folder, left_out):
        reason = "describes the data set" if _describes(file) else _unwanted(file, name, options)
        if reason is None:
            chosen.append(Source(file, name, _format(file, options), encoding=options.encoding))
        else:
            others.append((name, reason))
    left_out += others
    if not chosen:
        raise _nothing_chosen(folder, others, options)
    return chosen


def _describes(file: Path) -> bool:
    """Whether a file is about the Arrow files beside it."""
    return file.name in OF_DATASETS and next(file.parent.glob("*.arrow"), None) is not None


def _refuse_several_splits(folder: Path) -> None:
    """Refuse a folder of the package datasets with several splits, which are not all for training."""
    if not (folder / SPLITS_OF_DATASETS).is_file():
        return
    splits = sorted(one.name for one in folder.iterdir() if (one / OF_DATASETS[0]).is_file())
    first = next((name for name in ("train", *splits) if name in splits), "SPLIT")
    other = next((name for name in ("validation", "test", *splits) if name in splits and name != first), None)
    more = "" if other is None else f", and --data.validation {folder / other}"
    expected, found = "one split of a data set", f"several: {', '.join(splits) or 'none'}"
    raise data_error(folder, "folder", expected=expected, found=found, advice=f"name {folder / first}{more}")


def _nothing_chosen(folder: Path, others: list[tuple[str, str]], options: PrepareOptions) -> DataError:
    """Why none of a folder's files is taken, and how to have them taken."""
    binary = not options.include and any(reason == "binary" for _, reason in others)
    if binary:
        found, advice = "binary files", "train on their bytes as they are with --data.encoder bytes"
    else:
        found, advice = "other files", "check the path, or name the files with --data.include"
    reasons = "; ".join(f"{name}: {reason}" for name, reason in others[:3])
    wanted = f"files that match {', '.join(options.include)}" if options.include else "readable files"
    return data_error(
        folder,
        "folder",
        expected=wanted,
        found=f"{len(others)} {found} ({reasons})" if others else "no files",
        advice=advice,
    )


def _walk(folder: Path, left_out: list[tuple[str, str]]) -> list[tuple[Path, str]]:
    """Files below a folder, folders behind links once; what is hidden is left out, and folders that may not be read.

    Raises `OSError` where a folder cannot be read for another reason.
    """
    files: list[tuple[Path, str]] = []
    seen = {_identity(folder)}

    def not_read(error: OSError) -> None:
        if not isinstance(error, PermissionError) or Path(error.filename) == folder:
            raise error
        left_out.append((f"{Path(error.filename).relative_to(folder).as_posix()}/", "no permission to read it"))

    for root, folders, names in os.walk(folder, onerror=not_read, followlinks=True):
        here = Path(root)
        kept = []
        for name in sorted(folders):
            relative = (here / name).relative_to(folder).as_posix()
            if name.startswith("."):
                left_out.append((f"{relative}/", "hidden"))
            elif (mark := _identity(here / name)) in seen:
                left_out.append((f"{relative}/", "a link to a folder that is read already"))
            else:
                seen.add(mark)
                kept.append(name)
        folders[:] = kept
        for name in sorted(names):
            file = here / name
            relative = file.relative_to(folder).as_posix()
            if name.startswith("."):
                left_out.append((relative, "hidden"))
            elif not file.is_file():
                left_out.append((relative, "a link to nothing" if file.is_symlink() else "not a file"))
            else:
                files.append((file, relative))
    return sorted(files, key=lambda pair: pair[1])


def _fixed_part(pattern: Path) -> Path:
    """The folder in front of the first part with a wildcard."""
    fixed = Path(pattern.anchor)
    for part in pattern.relative_to(pattern.anchor).parts[:-1] if pattern.anchor else pattern.parts[:-1]:
        if glob.has_magic(part):
            break
        fixed /= part
    return fixed


def _unwanted(path: Path, name: str, options: PrepareOptions) -> str | None:
    """Why a file of a folder is left out; None if it is taken."""
    if not path.stat().st_size:
        return "empty"
    if options.include:
        taken = any(fnmatch(name, pattern) or fnmatch(path.name, pattern) for pattern in options.include)
        return None if taken else "no pattern of data.include matches"
    if options.encoder == "bytes":
        return None
    known = _by_suffix(path)
    if options.format not in ("auto", "text", "integers"):
        return None if known == options.format else f"its ending is not one of {options.format} files"
    sample = b"" if known and options.format == "auto" else _sample(path, options.encoding)
    if sample.startswith(UTF_16):
        return "UTF-16"
    return "binary" if b"\0" in sample else None


def _format(path: Path, options: PrepareOptions) -> Format:
    if options.format != "auto":
        return options.format
    if options.encoder == "bytes" and options.columns.text is None:
        return "text"
    known = _by_suffix(path)
    if known:
        return known
    sample = _sample(path, options.encoding)
    words = sample.split()
    integers = len(words) >= 8 and not sample.strip(b"0123456789 \t\r\n")
    return "integers" if integers else "text"


def _refuse_packed(source: Source, options: PrepareOptions) -> None:
    """Refuse archives and spreadsheets in place of text, and JSON that is neither lines nor asked for as text."""
    if source.format not in ENCODED or options.encoder == "bytes":
        return
    start = _stored(source.path)
    suffix = source.path.suffix.lower()
    found = advice = ""
    if start.startswith(PARQUET):
        raise parquet_as_text(source)
    if start.startswith(SPREADSHEET_97) or (start.startswith(ARCHIVE) and suffix in SPREADSHEETS):
        found, advice = "a spreadsheet", "save it as CSV"
    elif start.startswith(ARCHIVE):
        found, advice = "a zip archive (or a spreadsheet)", "unpack it, or save the spreadsheet as CSV"
    elif suffix == ".json" and options.format == "auto" and start.lstrip()[:1] == b"[":
        found = "one JSON array"
        advice = "write one object per line and read it with --data.format jsonl, or set --data.format text"
    elif suffix == ".json" and options.format == "auto" and start.lstrip()[:1] == b"{":
        found = "JSON"
        advice = "set --data.format jsonl if every line is an object, or --data.format text to read it as text"
    if found:
        raise data_error(source.path, "file", expected="text or a table", found=found, advice=advice)


def parquet_as_text(source: Source) -> DataError:
    """The error for a Parquet file that is read as text for its ending or `data.format`."""
    advice = "name it *.parquet, or set --data.format parquet"
    expected, found = "CSV" if source.format == "csv" else "text", "a Parquet file"
    return data_error(source.path, "file", expected=expected, found=found, advice=advice)


def not_parquet(source: Source) -> DataError | None:
    """The error for a file that does not begin as Parquet does, with what it may be; None for one that does."""
    start = _stored(source.path)
    if start.startswith(PARQUET):
        return None
    binary = b"\0" in start
    kind = "jsonl" if start.lstrip()[:1] == b"{" else "csv"
    advice = "write it as Parquet, or name another file" if binary else f"rename it, or set --data.format {kind}"
    found = "other data" if binary else f"text, which may be {'JSON lines' if kind == 'jsonl' else 'CSV'}"
    return data_error(source.path, "file", expected="a Parquet file", found=found, advice=advice)


def reads_like_csv(source: Source) -> bool:
    """Whether each of the first lines of a text, two or more, is cut into the same number of cells, two or more."""
    lines = _sample(source.path, source.encoding).decode(errors="replace").splitlines()
    first = [line for line in lines[:-1] or lines if line.strip()][:8]
    if len(first) < 2:
        return False
    mark = max(",\t;|", key=first[0].count)
    counts = {len(cells) for cells in csv.reader(first, delimiter=mark)}
    return len(counts) == 1 and counts.pop() > 1


def _stored(path: Path) -> bytes:
    """How the file begins, as it is stored."""
    try:
        with path.open("rb") as stream:
            return stream.read(SAMPLE_BYTES)
    except OSError as error:
        raise StorageError(f"{path}: cannot open the file: {error.strerror}") from None


def _by_suffix(path: Path) -> Format | None:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return SUFFIXES.get(suffixes[-1]) if suffixes else None


def _sample(path: Path, encoding: str) -> bytes:
    """How the text of a file begins, in UTF-8."""
    with open_source(Source(path, path.name, "text", encoding=encoding)) as stream:
        return read_block(stream, path, SAMPLE_BYTES)


def _unique_names(sources: list[Source]) -> list[Source]:
    """Names appear in reports: the same name from two folders gets its folder in front."""
    seen: dict[str, int] = {}
    for source in sources:
        seen[source.name] = seen.get(source.name, 0) + 1
    return [
        source if seen[source.name] == 1 else replace(source, name=source.path.resolve().as_posix().lstrip("/"))
        for source in sources
    ]
