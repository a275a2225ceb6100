"""Files in an S3 store: `s3://bucket/key`, a prefix, or a pattern, copied to local files before they are read.

pyarrow supplies the file system. Credentials, region and endpoint are those of the usual environment variables
(`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL`) and of `~/.aws`. A
table may be read several times and in any place, so all of its bytes are copied first; there has to be room for them
beside the prepared folder. What was copied is known by address, size and time of change of every object.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from ssm_hpn.config.data import PrepareOptions
from ssm_hpn.counts import counted
from ssm_hpn.errors import ConfigError, DataError, StorageError
from ssm_hpn.prepare.problems import config_error, data_error

if TYPE_CHECKING:
    from pyarrow.fs import S3FileSystem

S3: Final = "s3://"
WILD: Final = "*?["
BLOCK: Final = 1 << 20
ATTEMPTS: Final = 3
"""Tries of one request."""
CONNECT_SECONDS: Final = 10
REFUSALS: Final = ("ACCESS_DENIED", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403")
"""What an error has in it where a store knows its caller and refuses it, or does not know it."""
ABSENT: Final = ("NO_SUCH_BUCKET", "NoSuchBucket")
"""What an error has in it where there is no such bucket."""
KEYS: Final = ("train", "validation")


class StoredObject(NamedTuple):
    """One object of a store."""

    path: str
    """Bucket and key."""
    size: int
    changed_ns: int


def is_remote(options: PrepareOptions) -> bool:
    """Whether the data lies in a store. Raises `ConfigError` where a part of it does.

    >>> is_remote(PrepareOptions(train="s3://bucket/texts/")), is_remote(PrepareOptions(train="texts"))
    (True, False)
    """
    paths = [path for key in KEYS for path in getattr(options, key)]
    remote = [path.startswith(S3) for path in paths]
    if any(remote) and not all(remote):
        local = paths[remote.index(False)]
        advice = "copy the files into the bucket, or those of the bucket to a folder"
        raise config_error("data.train", expected="all files in one place", found=f"{S3}… and {local}", advice=advice)
    for key in ("labels", "tokenizer"):
        value = getattr(options, key)
        if value is not None and value.startswith(S3):
            raise config_error(f"data.{key}", expected="a local file", found=value, advice="copy it to a folder")
    return any(remote)


def listing(options: PrepareOptions) -> list[StoredObject]:
    """Every object that the paths name, sorted by its path. Raises `DataError` where a path names none."""
    store = _store()
    found: dict[str, StoredObject] = {}
    for key in KEYS:
        for path in getattr(options, key):
            there = list(_objects(store, path))
            if not there:
                expected, advice = "an object, a prefix or a pattern of a bucket", "check bucket and key"
                raise data_error(path, f"data.{key}", expected=expected, found="nothing there", advice=advice)
            found |= {one.path: one for one in there}
    return [found[path] for path in sorted(found)]


def key_of(options: PrepareOptions, objects: Iterable[StoredObject], version: int) -> str:
    """What data is known by that is prepared from these objects with these settings."""
    lines = [str(version), options.key(), *getattr(options, KEYS[0]), "", *getattr(options, KEYS[1])]
    lines += ["\0".join(map(str, one)) for one in objects]
    for beside in filter(None, (options.labels, options.tokenizer)):
        file = Path(beside).expanduser()
        lines.append(hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else beside)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def copied(options: PrepareOptions, objects: Iterable[StoredObject], folder: Path) -> PrepareOptions:
    """Copy objects below a folder; returns the settings with local paths."""
    store = _store()
    for one in objects:
        _copy(store, one, folder)
    local = {key: tuple(str(folder / path.removeprefix(S3)) for path in getattr(options, key)) for key in KEYS}
    return options.model_copy(update=local)


@contextmanager
def named_as_stored(folder: Path) -> Iterator[None]:
    """In a block, name copies in the messages of errors by their addresses in the store."""
    try:
        yield
    except (ConfigError, DataError) as error:
        raise type(error)(str(error).replace(f"{folder}{os.sep}", S3)) from None


def _store() -> "S3FileSystem":
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem  # slow to import, and needed for stores alone

    settings: dict[str, object] = {
        "connect_timeout": CONNECT_SECONDS,
        "retry_strategy": AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
    }
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if endpoint:
        address = urlsplit(endpoint if "//" in endpoint else f"https://{endpoint}")
        settings |= {"endpoint_override": address.netloc, "scheme": address.scheme, "region": region or "us-east-1"}
    elif region:
        settings["region"] = region
    return S3FileSystem(**settings)


def _objects(store: "S3FileSystem", address: str) -> Iterator[StoredObject]:
    """The objects of an address: one, those below a prefix, or those of a pattern."""
    from pyarrow.fs import FileSelector, FileType

    path = address.removeprefix(S3).rstrip("/")
    bucket, _, key = path.partition("/")
    if not bucket or any(mark in bucket for mark in WILD):
        raise data_error(address, "bucket", expected="the name of a bucket", found=repr(bucket), advice="write it out")
    parts = PurePosixPath(key).parts
    fixed = parts[: next((i for i, part in enumerate(parts) if any(mark in part for mark in WILD)), len(parts))]
    root = "/".join((bucket, *fixed))
    try:
        if fixed == parts and key:
            info = store.get_file_info(path)
            if info.type == FileType.File:
                yield _stored(info.path, info.size, info.mtime_ns)
                return
        infos = store.get_file_info(FileSelector(root, recursive=True))
    except FileNotFoundError:
        return
    except OSError as error:
        if any(word in str(error) for word in ABSENT):
            return
        raise _failed(address, error) from None
    for info in infos:
        if info.type == FileType.File and (fixed == parts or _matches(info.path, path)):
            yield _stored(info.path, info.size, info.mtime_ns)


def _matches(path: str, pattern: str) -> bool:
    """Whether a path is one of a pattern, in which `*` stays within a part and `**` is any number of parts."""
    here, wanted = PurePosixPath(path).parts, PurePosixPath(pattern).parts

    def fits(i: int, j: int) -> bool:
        if j == len(wanted):
            return i == len(here)
        if wanted[j] == "**":
            return any(fits(k, j + 1) for k in range(i, len(here) + 1))
        return i < len(here) and fnmatchcase(here[i], wanted[j]) and fits(i + 1, j + 1)

    return fits(0, 0)


def _stored(path: str, size: int | None, changed_ns: int | None) -> StoredObject:
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        advice = "give it another key, or name other objects"
        raise data_error(S3 + path, "key", expected="names between its slashes", found=repr(path), advice=advice)
    return StoredObject(path, size or 0, changed_ns or 0)


def _copy(store: "S3FileSystem", one: StoredObject, folder: Path) -> None:
    target = folder / one.path
    target.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with target.open("wb") as file:
        try:
            stream = store.open_input_stream(one.path)
            while block := stream.read(BLOCK):
                size += file.write(block)
        except FileNotFoundError:
            size = -1
        except OSError as error:
            if error.filename == str(target):
                raise
            raise _failed(S3 + one.path, error) from None
    if size != one.size:
        found = "no such object" if size < 0 else f"{size}"
        expected, advice = (
            f"{counted(one.size, 'byte')}, as it was listed",
            "run the command again when nobody changes it",
        )
        raise data_error(S3 + one.path, "object", expected=expected, found=found, advice=advice)


def _failed(address: str, error: OSError) -> StorageError:
    """The error of a store in one line: who is refused, or what cannot be reached."""
    text = " ".join(str(error).split())
    advice = "check AWS_ENDPOINT_URL and the network"
    if any(word in text for word in REFUSALS):
        advice = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and that they may list and read the bucket"
    return StorageError(f"{address}: cannot read: {text[:300]}; {advice}")
