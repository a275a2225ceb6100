"""Which documents are those of a prepared part, such as the one that a model was trained on: by content and by id.

    contents.npy    64-bit keys of the contents of all documents of a part, sorted; manifest.json has its digest under
                    source.contents, null where there are too many documents to hold their keys, and in a held-out
                    part that has the ends of the training documents

Of ids only the names of the part's documents are read from its shards, and compared as 64-bit keys.
"""

import hashlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.lib import format as npy
from numpy.typing import NDArray

from ssm_hpn.counts import counted, noun_for
from ssm_hpn.dataset import MANIFEST, read_manifest
from ssm_hpn.errors import StorageError, shown
from ssm_hpn.prepare.keys import Keys, text_keys
from ssm_hpn.prepare.problems import data_error
from ssm_hpn.storage import write_whole

CONTENTS: Final = "contents.npy"
MOST: Final = 1 << 22
"""Documents of the part whose ids are looked at: some seconds."""
FILE: Final = "^[^#]*#"
"""What stands before the id in the name of a document."""
NOT_NEW: Final = "the metrics are not those of new ones"


def keep_contents(folder: Path, keys: Keys | None) -> dict[str, str] | None:
    """Write the keys of the contents of a part; returns what its manifest has about them."""
    if keys is None:
        return None
    file = io.BytesIO()
    np.save(file, np.sort(keys).astype("<u8"))
    write_whole(folder / CONTENTS, file.getvalue())
    return {"file": CONTENTS, "sha256": hashlib.sha256(file.getvalue()).hexdigest()}


def contents_of(part: Path, manifest: Mapping[str, Any]) -> Keys | None:
    """The keys of the contents of a prepared part, sorted; None for one without them.

    Raises `DataError` for a file that is damaged.
    """
    about = (manifest.get("source") or {}).get("contents")
    if about is None:
        return None
    if not (isinstance(about, Mapping) and isinstance(about.get("file"), str) and isinstance(about.get("sha256"), str)):
        expected, advice = "the name of a file and its SHA-256", "prepare the data again"
        raise data_error(part / MANIFEST, "source.contents", expected=expected, found=shown(about), advice=advice)
    path = part / about["file"]
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        content, found = b"", "no such file"
    except OSError as error:
        raise StorageError(f"{path}: cannot read: {error.strerror}") from None
    else:
        found = hashlib.sha256(content).hexdigest()
    if found != about["sha256"]:
        advice = "the file is damaged: copy it again, or prepare the data again"
        raise data_error(path, "file", expected=f"SHA-256 {about['sha256']}", found=found, advice=advice)
    keys = _keys(content)
    if keys is None:
        raise data_error(path, "file", expected="keys", found="something else", advice="prepare the data again")
    return keys


def _keys(content: bytes) -> Keys | None:
    """The keys in the bytes of a file; None where they are not as many as its header says, or no keys."""
    file = io.BytesIO(content)
    try:
        npy.read_magic(file)
        shape, _, dtype = npy.read_array_header_1_0(file)
    except ValueError:
        return None
    if len(shape) != 1 or dtype != np.dtype("<u8") or len(content) - file.tell() != shape[0] * dtype.itemsize:
        return None
    return np.frombuffer(content, dtype, offset=file.tell())


def notes_on(part: Path, contents: Keys, ids: Keys) -> Iterator[str]:
    """Notes about documents that are those of a part that was trained on.

    `contents` are the keys of their contents, `ids` those of their ids in the same order, empty where they have none.

    Raises `OSError`, `LookupError`, `ValueError` or `DataError` for a part that cannot be read.
    """
    manifest, total = read_manifest(part), counted(len(contents), "document")
    theirs = contents_of(part, manifest)
    seen = np.zeros(len(contents), bool) if theirs is None else _among(theirs, contents)
    if seen.any():
        are = noun_for(int(seen.sum()), "is equal to one", "are equal to some")
        yield f"{seen.sum()} of {total} {are} of the training part: {NOT_NEW}"
    same_id = known(ids, part, manifest) & ~seen if len(ids) else np.zeros(0, bool)
    if same_id.any():
        has = noun_for(int(same_id.sum()), "has an id", "have ids")
        other = "" if theirs is None else ", with other contents"
        yield f"{same_id.sum()} of {total} {has} of the training part{other}: if they are the same documents, {NOT_NEW}"
    if theirs is None:
        why = "has too many documents" if "contents" in (manifest.get("source") or {}) else "is of an earlier version"
        by_id = ", by their ids alone" if len(ids) else ""
        yield f"the training part {why}: the documents were {'' if by_id else 'not '}compared with those of it{by_id}"


def notes_on_part(part: Path, other: Path) -> Iterator[str]:
    """A note about the documents of a prepared folder that are those of a part that was trained on; raises as above."""
    manifest, theirs = read_manifest(part), read_manifest(other)
    digests = [(one.get("source") or {}).get("digest") for one in (manifest, theirs)]
    if part.resolve() == other.resolve() or (digests[0] is not None and digests[0] == digests[1]):
        yield f"{other} is what the model was trained on: {NOT_NEW}"
        return
    contents = contents_of(other, theirs)
    if contents is not None:
        yield from notes_on(part, contents, np.empty(0, np.uint64))


def _among(sorted_keys: Keys, keys: Keys) -> NDArray[np.bool_]:
    """Which keys are among sorted ones."""
    if not len(sorted_keys):
        return np.zeros(len(keys), bool)
    at = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    found: NDArray[np.bool_] = sorted_keys[at] == keys
    return found


def known(keys: Keys, part: Path, manifest: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Which of the keys of ids (`text_keys`) are those of documents of a prepared part; of a long one, its start."""
    wanted = np.unique(keys)
    found = np.zeros(len(wanted), bool)
    looked = 0
    for shard in manifest["shards"]:
        with pa.memory_map(str(part / shard["file"])) as file:
            reader = pa.ipc.open_file(file)
            for number in range(reader.num_record_batches):
                if looked >= MOST or not len(wanted):
                    break
                names = reader.get_batch(number).column("name")
                looked += len(names)
                theirs = text_keys(pc.replace_substring_regex(names, FILE, "").to_pylist())
                at = np.minimum(np.searchsorted(wanted, theirs), len(wanted) - 1)
                found[at[wanted[at] == theirs]] = True
    return np.isin(keys, wanted[found])
