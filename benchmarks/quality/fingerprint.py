"""Which code was measured: a version alone does not say it while the code changes."""

from __future__ import annotations

import hashlib
from pathlib import Path


def fingerprint(path: Path) -> str:
    """Eight hex digits of the digest of a file, or of the modules and compiled modules below a folder."""
    inside = (one for kind in ("*.py", "*.so", "*.pyd") for one in path.rglob(kind))
    files = [path] if path.is_file() else sorted(inside)
    digest = hashlib.sha256()
    for one in files:
        digest.update(one.relative_to(path.parent).as_posix().encode())
        digest.update(hashlib.sha256(one.read_bytes()).digest())
    return digest.hexdigest()[:8]
