"""General compressors on the held-out bytes, a baseline for language models on bytes.

    bits per byte = 8 · bytes of the compressed files / bytes of the documents

`zstd -19` and `xz -9`, each in two ways. "by itself": every document is a file of its own, so that, as for a model, it
is predicted from its own bytes; what a file's frame takes is counted. "in one stream": all documents are one file, in
the order of the shards, so that a document is also predicted from those before it, which a model cannot do. Neither
sees the training bytes. All bytes count, the first of each document too.

xz is in the standard library; zstd is in it from Python 3.14 on, else in the package `backports.zstd`. Without
one it is left out. At most `MOST_BYTES` are read, as these settings compress some megabytes in a second.
"""

import json
import lzma
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from ssm_hpn.baselines import shard_bytes
from ssm_hpn.dataset import read_manifest
from ssm_hpn.storage import write_whole

MOST_BYTES: Final = 1 << 22
"""Held-out bytes that are compressed at most: whole documents from the first on, and a longer one is cut."""
ZSTD_LEVEL: Final = 19
XZ_PRESET: Final = 9
ZSTD: Final = f"zstd -{ZSTD_LEVEL}"
XZ: Final = f"xz -{XZ_PRESET}"
XZ_DICTIONARY: Final = 1 << 26
"""Bytes that `xz -9` looks back; fewer are reserved for fewer bytes, which changes no compressed size."""
LEAST_DICTIONARY: Final = 1 << 12
CACHE_FILE: Final = "compressors.json"
VERSION: Final = 1

Compress = Callable[[bytes], bytes]


@dataclass(frozen=True)
class CompressorScore:
    """One compressor on the held-out bytes."""

    name: str
    """Such as `xz -9, each file by itself`."""
    bits_per_byte: float
    scored: int
    """Bytes."""


def scores(documents: Iterable[bytes]) -> list[CompressorScore]:
    """Bits per byte of the documents under each compressor that is installed, by itself and in one stream.

    Examples
    --------
    >>> alone, together = scores([b"abcabcabc" * 9, b"abcabcabc" * 9])[-2:]
    >>> alone.name, together.name
    ('xz -9, each file by itself', 'xz -9, all in one stream')
    >>> alone.bits_per_byte > together.bits_per_byte, alone.scored
    (True, 162)
    """
    held = _first(documents, MOST_BYTES)
    total = sum(map(len, held))
    if not total:
        return []
    found = []
    for name, compress in _compressors().items():
        ways = {"each file by itself": held, "all in one stream": [b"".join(held)]}
        for way, files in ways.items():
            size = sum(len(compress(file)) for file in files)
            found.append(CompressorScore(f"{name}, {way}", 8 * size / total, total))
    return found


def compare(validation: Path) -> list[CompressorScore]:
    """`scores` of a prepared folder of bytes; kept in a file beside the shards."""
    key = [VERSION, read_manifest(validation)["source"]["digest"], MOST_BYTES, *_compressors()]
    cache = validation.parent / CACHE_FILE
    try:
        stored = json.loads(cache.read_text(encoding="utf-8"))
        if stored["key"] == key:
            return [CompressorScore(**score) for score in stored["scores"]]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no usable cache: compute
    found = scores(shard_bytes(validation))
    write_whole(cache, json.dumps({"key": key, "scores": [asdict(score) for score in found]}, indent=2) + "\n")
    return found


def missing() -> str:
    """What to install for a compressor that is not there; empty where all are."""
    return "" if _zstd() else f"{ZSTD} needs Python 3.14, or: pip install backports.zstd"


def _compressors() -> dict[str, Compress]:
    zstd = _zstd()
    return ({ZSTD: zstd} if zstd else {}) | {XZ: _xz}


def _zstd() -> Compress | None:
    """As the command `zstd` writes it, with a checksum; None where no module for it is installed."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            zstd: Any = import_module(name)
        except ModuleNotFoundError:
            continue
        options = {zstd.CompressionParameter.compression_level: ZSTD_LEVEL, zstd.CompressionParameter.checksum_flag: 1}
        return lambda data: bytes(zstd.compress(data, options=options))
    return None


def _xz(data: bytes) -> bytes:
    reach = min(XZ_DICTIONARY, max(LEAST_DICTIONARY, 1 << (len(data) - 1).bit_length()))
    return lzma.compress(data, filters=[{"id": lzma.FILTER_LZMA2, "preset": XZ_PRESET, "dict_size": reach}])


def _first(documents: Iterable[bytes], most: int) -> list[bytes]:
    """Documents from the first on that have `most` bytes together; the last one is cut there."""
    held: list[bytes] = []
    for document in documents:
        most -= len(document)
        held.append(document if most >= 0 else document[:most])
        if most <= 0:
            break
    return held
