"""Checks that a release keeps its promises: public names, golden schemas, versions, changelog and migration sections.

Usage: python scripts/release_check.py [--update]    (--update rewrites the snapshots of public names)
"""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import ssm_hpn

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"
# surface -> its name in MIGRATION.md and where one file or folder of every released number is kept
SCHEMAS = {
    "checkpoint schema": ROOT / "rust/core/tests/golden" / "checkpoint-v*",
    "shard manifest": ROOT / "rust/core/tests/golden" / "shards-v*",
    "metrics schema": GOLDEN / "metrics-v*",
}


def python_names() -> list[str]:
    """Exported names with their signatures, and the public members of exported classes."""
    lines = []
    for name in sorted(ssm_hpn.__all__):
        value = getattr(ssm_hpn, name)
        lines.append(name + signature(value))
        if inspect.isclass(value):
            members = [m for m in sorted(vars(value)) if not m.startswith("_")]
            lines += [f"{name}.{member}{signature(getattr(value, member))}" for member in members]
    return lines


def signature(value: object) -> str:
    """Parameters of a callable without annotations, empty for anything else."""
    if not callable(value):
        return ""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in found.parameters.values()]
    return str(found.replace(parameters=bare, return_annotation=inspect.Signature.empty))


def rust_names() -> list[str]:
    """Public items of the crate, from the pages of its documentation: kind and path."""
    subprocess.run(["cargo", "doc", "-p", "ssm-hpn", "--no-deps", "--quiet"], cwd=ROOT, check=True)
    page = (ROOT / "target/doc/ssm_hpn/all.html").read_text(encoding="utf-8")
    links = re.findall(r'href="([\w/]*?)(struct|enum|trait|fn|type|constant|macro)\.(\w+)\.html"', page)
    return sorted(f"{kind} {path.replace('/', '::')}{name}" for path, kind, name in set(links))


def compare(name: str, found: list[str], *, update: bool) -> list[str]:
    """Problems of one snapshot; with `update` it is rewritten instead."""
    path = GOLDEN / name
    if update:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(found) + "\n", encoding="utf-8")
        return []
    known = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    gone = [f"{name}: gone: {line}" for line in known if line not in found]
    new = [f"{name}: new: {line}" for line in found if line not in known]
    return gone + new


def documents() -> list[str]:
    """Problems with versions, changelog, migration sections and golden files."""
    version = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))["workspace"]["package"]["version"]
    problems = []
    if ssm_hpn.__version__ != version:
        problems.append(f"the installed package is {ssm_hpn.__version__}, Cargo.toml says {version}; run: make build")
    heading = re.compile(rf"^## {re.escape(version)}\b", re.MULTILINE)
    problems += [
        f"{name}: no section for {version}"
        for name in ("CHANGELOG.md", "MIGRATION.md")
        if not heading.search((ROOT / name).read_text(encoding="utf-8"))
    ]
    migration = (ROOT / "MIGRATION.md").read_text(encoding="utf-8")
    for surface, pattern in SCHEMAS.items():
        files = sorted(pattern.parent.glob(pattern.name))
        if not files:
            problems.append(f"{pattern}: no golden file of the {surface}")
        for path in files:
            number = int(re.sub(r"\D", "", path.stem))
            if not re.search(rf"{surface} {number}\b", migration):
                problems.append(f"MIGRATION.md: nothing about {surface} {number}, which {path.name} has")
    return problems


def main() -> int:
    """Prints each problem in a line; 1 if there is any."""
    update = sys.argv[1:] == ["--update"]
    problems = compare("python-api.txt", python_names(), update=update)
    problems += compare("rust-api.txt", rust_names(), update=update)
    problems += documents()
    for problem in problems:
        print(problem)
    print(json.dumps({"problems": len(problems), "version": ssm_hpn.__version__}))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
