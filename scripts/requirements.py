"""Prints the requirements of pyproject.toml, one a line: those of a plain install and of the extras that are named.

Usage: python scripts/requirements.py [EXTRA ...]
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = project["optional-dependencies"]
unknown = [name for name in sys.argv[1:] if name not in extras]
if unknown:
    sys.exit(f"no extra {unknown[0]!r} in pyproject.toml; it has {', '.join(extras)}")
print("\n".join([*project["dependencies"], *(line for name in sys.argv[1:] for line in extras[name])]))
