"""Which module may import which, by the tables of docs/architecture.md; and what `import ssm_hpn` loads."""

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import ssm_hpn
from rust_imports import imports_of, rust_graph

PACKAGE = Path(ssm_hpn.__file__).parent
REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs/architecture.md"

CORE_USERS = {
    *(
        "__init__",
        "answering",
        "checkpointed",
        "checkpoints",
        "cli",
        "config",
        "dataset",
        "documents",
        "evaluation",
        "feed",
        "filter_data",
        "filter_evaluation",
        "filter_model",
        "held_out_decisions",
        "learner",
    ),
    *(
        "metrics",
        "model_in_use",
        "parity",
        "parts",
        "prepare",
        "prototypes",
        "run",
        "same_start",
        "scaled",
        "state_features",
        "storage",
        "targets",
        "trainer",
    ),
}


def rows_of(title):
    """The row of every module in the table of docs/architecture.md under a heading, counted from the bottom up."""
    table = PAGE.read_text(encoding="utf-8").split(f"### {title}\n")[1].split("```text\n")[1].split("```")[0]
    rows = [re.split(r" {10,}", line)[0].split() for line in table.splitlines()]
    return {name: number for number, row in enumerate(reversed(rows)) for name in row}


def top_of(module):
    """The name that a dotted module has in the table: the file or folder directly inside the package."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def python_modules():
    """Dotted name and file of every module of the package."""
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), file


def python_imports(source, known):
    """(module, names) of every import of the package: at the top, inside functions and under TYPE_CHECKING alike.

    A text that is a module's name counts too: `import_module` takes such texts.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ssm_hpn":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield (inner, set()) if inner in known else (node.module, {alias.name})
        elif isinstance(node, ast.Import):
            yield from ((alias.name, set()) for alias in node.names if alias.name.split(".")[0] == "ssm_hpn")
        elif isinstance(node, ast.Constant) and str(node.value).startswith("ssm_hpn.") and node.value in known:
            yield node.value, set()


@cache
def python_graph():
    """For every module of the package, the modules and names of the package that it imports."""
    files = dict(python_modules())
    known = {*files, "ssm_hpn._core"}
    return {name: list(python_imports(file.read_text(encoding="utf-8"), known)) for name, file in files.items()}


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("from ssm_hpn.run import Run", "ssm_hpn.run"),
        ("from ssm_hpn import run", "ssm_hpn.run"),
        ("import ssm_hpn.run as files", "ssm_hpn.run"),
        ("if TYPE_CHECKING:\n    from ssm_hpn.run import Run", "ssm_hpn.run"),
        ("def f():\n    if True:\n        from ssm_hpn.run import Run", "ssm_hpn.run"),
        ("from ssm_hpn import Trainer", "ssm_hpn"),
        ("import_module('ssm_hpn.run')", "ssm_hpn.run"),
    ],
)
def test_every_form_of_an_import_is_found(source, module):
    assert [found for found, _ in python_imports(source, {"ssm_hpn", "ssm_hpn.run"})] == [module]
    assert list(python_imports("import numpy\nfrom ssm_hpnx import y", {"ssm_hpn"})) == []


def test_imports_run_downwards_only():
    row = rows_of("Python")
    graph = python_graph()
    assert set(row) == {top_of(name) for name in graph} - {"__init__"} | {"_core"}
    for name, imported in graph.items():
        for module, _ in imported:
            if top_of(name) != "__init__":
                assert row.get(top_of(module), len(row)) <= row[top_of(name)], f"{name} imports {module}"


def test_no_imports_of_python_modules_form_a_circle():
    graph = {name: {module for module, _ in imported} for name, imported in python_graph().items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"imports in a circle: {' <- '.join(error.args[1])}")


# The types of the core's `data` that modules below `session` may use.
BATCH = {"Batch", "Input", "InputLimit", "Limits", "Segment"}


def core_imports(file):
    """(module, names taken from it) of every path in a Rust file that begins with `crate::`."""
    code = re.sub(r"//.*", "", file.read_text(encoding="utf-8"))
    assert not re.search(r"crate::[{*]", code), f"{file}: one `use` per module of the crate, by name"
    for module, braces, name in re.findall(r"\bcrate::(\w+)(?:::(?:\{([^;]*)\}|(\w+)))?", code):
        yield module, set(re.findall(r"\w+", braces or name))


def test_imports_of_the_core_run_downwards_only():
    rows, source = rows_of("Core"), REPOSITORY / "rust/core/src"
    there = set(re.findall(r"^(?:pub )?mod (\w+);", (source / "lib.rs").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(rows) == there
    for file in sorted(source.rglob("*.rs")):
        top = file.relative_to(source).parts[0].removesuffix(".rs")
        if top == "lib" or file.name == "tests.rs":
            continue
        for module, names in core_imports(file):
            where = f"{file.relative_to(source)} imports {module}"
            assert module in rows, where
            assert module == top or rows[module] < rows[top], f"{where}, which is not below {top}"
            if module == "data" and top not in {"data", "session"}:
                assert names <= BATCH, f"{where}: {sorted(names - BATCH)}"


@pytest.mark.parametrize("crate", ["core", "bindings"])
def test_no_imports_of_rust_modules_form_a_circle(crate):
    graph = rust_graph(REPOSITORY / "rust" / crate / "src")
    assert len(graph) > 10
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = " <- ".join("::".join(module) or "lib" for module in error.args[1])
        pytest.fail(f"imports in a circle: {circle}; what both need belongs into a file of its own")


@pytest.mark.parametrize(
    ("text", "imported"),
    [
        ("use crate::b::c::Item;", {("b", "c")}),
        ("use super::c::{Item, other};", {("b", "c")}),
        ("use super::{Item, c::{self, Other}};", {("b",), ("b", "c")}),
        ("use super::super::Item as Other;", {()}),
        ("fn f() { crate::b::c::g(); }", {("b", "c")}),
        ("fn f(x: super::c::Item) {}", {("b", "c")}),
        ("use super::c;\nfn f() { c::g() }", {("b", "c")}),
        ("mod e;", {("b", "d", "e")}),
        ("pub use e::Item;", {("b", "d", "e")}),
        ("use std::io::{Read, Write};\nuse rayon::prelude::*;", set()),
        ('// use crate::b;\nconst A: &str = "crate::b::c";', set()),
        ("#[cfg(test)]\nmod tests { use super::super::c; }", set()),
        ("mod inline { use super::Item; use super::super::c; fn f() { self::g() } }", {("b", "c")}),
    ],
)
def test_every_form_of_a_path_in_rust_is_found(text, imported):
    known = {(), ("b",), ("b", "c"), ("b", "d"), ("b", "d", "e")}
    assert imports_of(("b", "d"), text, known) == imported


def test_only_listed_modules_import_the_compiled_one():
    users = {top_of(name) for name, imported in python_graph().items() if "ssm_hpn._core" in dict(imported)}
    assert users <= CORE_USERS


def test_only_the_command_line_prints_or_exits():
    for name, file in python_modules():
        if top_of(name) in {"cli", "train", "__main__"}:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in {"print", "sys.exit", "exit"}, f"{file}:{node.lineno}"


READERS = ["pyarrow", "duckdb", "pandas", "polars", "sklearn", "scipy", "jax", "ssm_hpn.prepare"]
"""What reads data, or serves estimators and comparisons: slow to import, and needed by no start."""
LATER = [*READERS, "numpy", "pydantic", "rich", "pydantic_settings", "argparse", "ssm_hpn.cli"]


def test_the_package_and_the_help_of_a_command_load_no_heavy_dependency():
    """`import ssm_hpn` takes 0.02 s and `--help` 0.5 s because of it."""
    code = (
        "import sys, ssm_hpn\n"
        f"print([name for name in {LATER} if name in sys.modules])\n"
        "from ssm_hpn.entry import enter\n"
        "sys.argv = ['train', '--help']\n"
        "enter('train', 'train')\n"
        f"print([name for name in {READERS} if name in sys.modules])\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    package, *text, command = found.stdout.splitlines()
    assert package == "[]"
    assert any("--train.steps" in line for line in text)
    assert command == "[]"


def test_the_public_names_exist_and_are_at_most_12():
    assert len(ssm_hpn.__all__) <= 12
    for name in ssm_hpn.__all__:
        assert getattr(ssm_hpn, name) is not None


def test_every_class_of_the_bindings_is_compared_with_the_place_that_an_object_has():
    sources = Path(__file__).parents[2] / "rust/bindings/src"
    named = re.compile(r"#\[pyclass\b[^\n]*\n(?:(?:#\[|///)[^\n]*\n)*(?:pub\(crate\) )?(?:struct|enum) (\w+)")
    classes = {f"{file.stem}::{name}" for file in sources.glob("*.rs") for name in named.findall(file.read_text())}
    compared = re.findall(r"assert!\(align_of::<(.+?)>\(\) <= PLACE\);", (sources / "lib.rs").read_text())
    assert len(classes) > 10
    assert classes == set(compared)
