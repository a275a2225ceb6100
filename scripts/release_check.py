"""Checks a release: public surfaces, golden files, versions, changelog and migration sections.

Usage: python scripts/release_check.py [--update]    (--update rewrites the snapshots of public surfaces)
"""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import numpy as np
import rust_surface

import ssm_hpn
import ssm_hpn.callbacks
import ssm_hpn.errors
import ssm_hpn.estimators
from ssm_hpn._core import Loader, verify_checkpoint, verify_shards
from ssm_hpn.cli.main import COMMANDS
from ssm_hpn.config.load import walk
from ssm_hpn.errors import Error
from ssm_hpn.metrics_log import SCHEMA, encode, read_rows

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"
# surface -> its name in MIGRATION.md and where one file or folder of every released number is kept
SCHEMAS = {
    "checkpoint schema": GOLDEN / "checkpoint-v*",
    "shard manifest": ROOT / "rust/core/tests/golden" / "shards-v*",
    "metrics schema": GOLDEN / "metrics-v*",
}
# scikit-learn adds these to every estimator, with a signature of its version
OF_SKLEARN = re.compile(r"set_\w+_request")


def python_surface() -> list[str]:
    """The Python API as MIGRATION.md defines it: names with signatures, command line and exit codes."""
    lines = module_names(ssm_hpn, ssm_hpn.__all__)
    for module in (ssm_hpn.callbacks, ssm_hpn.errors, ssm_hpn.estimators):
        defined = [
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
        ]
        lines += module_names(module, getattr(module, "__all__", defined))
    return lines + command_line()


def module_names(module: ModuleType, names: list[str]) -> list[str]:
    """Names of a module with their signatures, and the public members of its classes; those of the package bare."""
    prefix = "" if module is ssm_hpn else f"{module.__name__}."
    lines = []
    for name in sorted(names):
        value = getattr(module, name)
        lines.append(prefix + name + signature(value))
        if inspect.isclass(value):
            ours = [base for base in value.__mro__ if base.__module__.partition(".")[0] == "ssm_hpn"]
            found = {m for base in ours for m in vars(base) if not m.startswith("_")}
            members = sorted(m for m in found if not OF_SKLEARN.fullmatch(m))
            lines += [f"{prefix}{name}.{member}{signature(getattr(value, member))}" for member in members]
    return lines


def command_line() -> list[str]:
    """Commands, their options as their help names them, settings that are options of `train`, and exit codes."""
    lines = []
    for command in COMMANDS:
        lines.append(f"command {command.name}")
        if command.name != "train":
            words = [sys.executable, "-m", "ssm_hpn", command.name, "--help"]
            shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
            options = set(re.findall(r"--[a-z][\w-]*", shown)) - {"--help"}
            lines += [f"command {command.name} {option}" for option in sorted(options)]
    options = {f"--{name}" for name, _, _ in walk()} | {"--config", "--data", "--dry-run", "--profile", "--resume"}
    lines += [f"command train {option}" for option in sorted(options)]
    kinds = [value for name, value in sorted(vars(ssm_hpn.errors).items()) if name.endswith("Error")]
    lines += [f"exit code {ssm_hpn.errors.exit_code(kind())}: {kind.__name__}" for kind in kinds]
    constants = [name for name in vars(ssm_hpn.errors) if name.startswith("EXIT_")]
    return lines + [f"exit code {getattr(ssm_hpn.errors, name)}: {name}" for name in sorted(constants)]


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


def surface_of_rust() -> list[str]:
    """Public items of the crate: kind, path and declaration, and their methods."""
    rust_surface.write_pages()
    return rust_surface.surface(rust_surface.public_items())


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
    return problems + golden_files()


def golden_files() -> list[str]:
    """Problems with one released file or folder of every number of a schema: kept, described, and loads."""
    problems = []
    migration = (ROOT / "MIGRATION.md").read_text(encoding="utf-8")
    for surface, pattern in SCHEMAS.items():
        files = sorted(pattern.parent.glob(pattern.name))
        if not files:
            problems.append(f"{pattern}: no golden file of the {surface}")
        for path in files:
            number = int(re.sub(r"\D", "", path.stem))
            if not re.search(rf"{surface} {number}\b", migration):
                problems.append(f"MIGRATION.md: nothing about {surface} {number}, which {path.name} has")
            try:
                LOAD[surface](path)
            except (Error, ValueError, LookupError) as error:
                problems.append(f"{path}: does not load: {error}")
    return problems


def load_checkpoint(path: Path) -> None:
    """Verify and load the checkpoint of a folder, go on with it, and get the scores that are kept beside it."""
    verify_checkpoint(str(path / (path / "latest").read_text(encoding="utf-8").strip()))
    kept = json.loads((path / "scores.json").read_text(encoding="utf-8"))
    trainer = ssm_hpn.Trainer.load(path)
    batch = {"tokens": np.array(kept["tokens"], np.uint32)}
    off = float(np.abs(trainer.predict(batch) - np.array(kept["scores"])).max())
    if not off < 1e-5:  # cosines: another instruction set rounds otherwise
        raise ValueError(f"scores of {path / 'scores.json'} are off by {off:.1e}")
    trainer.step(batch)


def load_shards(path: Path) -> None:
    """Verify a prepared folder, and read a batch of it."""
    verify_shards(str(path))
    loader = {"path": str(path), "batch_size": 1, "length": 16, "workers": 1, "prefetch": 1}
    if Loader(json.dumps(loader)).next() is None:
        raise ValueError("no batch in it")


def load_metrics(path: Path) -> None:
    """Read a metrics file; what is written today has its keys, under the same number."""
    rows = read_rows(path)
    number = int(re.sub(r"\D", "", path.stem))
    if not rows or any(row["schema"] != number or list(row) != list(rows[0]) for row in rows):
        raise ValueError(f"expected rows of schema {number} with the same keys")
    for row in rows if number == SCHEMA else []:
        if json.loads(encode({key: value for key, value in row.items() if key != "nonfinite"}, list(row))) != row:
            raise ValueError(f"the row of step {row['step']} is not written as it was")


LOAD = {"checkpoint schema": load_checkpoint, "shard manifest": load_shards, "metrics schema": load_metrics}


def main() -> int:
    """Prints each problem in a line; 1 if there is any."""
    update = sys.argv[1:] == ["--update"]
    problems = compare("python-api.txt", python_surface(), update=update)
    problems += compare("rust-api.txt", surface_of_rust(), update=update)
    problems += documents()
    for problem in problems:
        print(problem)
    print(json.dumps({"problems": len(problems), "version": ssm_hpn.__version__}))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
