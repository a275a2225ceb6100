"""Files that are damaged on purpose, and signed again so that what lies behind their digests is reached."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

PLACES: Final = ("absent", None, "x", -1, [], {}, 1e308, [[]], {"x": {}})
"""What is put in the place of a value; the first removes it."""
ZEROS: Final = "0" * 64


def sign(checkpoint: Path) -> None:
    """Write the manifest of a checkpoint anew, with sizes and digests of its files as they are."""
    manifest = checkpoint / "MANIFEST.json"
    about = json.loads(manifest.read_text(encoding="utf-8"))
    for name in about["files"]:
        content = (checkpoint / name).read_bytes()
        about["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    text = json.dumps(about | {"digest": ZEROS})
    manifest.write_text(text.replace(ZEROS, hashlib.sha256(text.encode()).hexdigest()), encoding="utf-8")


def sign_data(folder: Path) -> None:
    """Put the digest of a manifest as it is into the digests of a prepared folder."""
    sums = folder / "SHA256SUMS"
    digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    others = sums.read_text(encoding="ascii").splitlines()[:-1]
    sums.write_text("\n".join([*others, f"{digest}  manifest.json", ""]), encoding="ascii")


def changed(value: Any) -> Iterator[tuple[str, Any]]:
    """Every value with one place in it replaced: where it is, by what, and the whole."""
    pairs = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    for key, inside in pairs:
        for other in PLACES:
            copy = dict(value) if isinstance(value, dict) else list(value)
            if other == "absent":
                del copy[key]
            else:
                copy[key] = other
            yield f"{key}: {json.dumps(other)}", copy
        for where, new in changed(inside):
            copy = dict(value) if isinstance(value, dict) else list(value)
            copy[key] = new
            yield f"{key}.{where}", copy
