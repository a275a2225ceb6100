"""Which module may import which: the direction of the house, read from the sources; and what a plain import costs."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import ssm_hpn

PACKAGE = Path(ssm_hpn.__file__).parent
REPOSITORY = Path(__file__).parents[2]

# From the bottom up. A module imports its own layer and those below it.
LAYERS = [
    {"_core"},
    {"errors"},
    {"config", "svg"},
    {"early_stopping", "cadence", "metrics"},
    {"evaluation", "callbacks", "checkpoints", "metrics_log", "dataset", "feed", "run"},
    {"trainer", "training", "prepare", "baselines", "report", "page", "profiling"},
    {"estimators", "parity", "compare"},
    {"cli"},
    {"train", "__main__"},
]
LAYER_OF = {name: number for number, names in enumerate(LAYERS) for name in names}
CORE_USERS = {"errors", "checkpoints", "dataset", "feed", "run", "trainer", "prepare", "cli", "__init__", "parity"}
ERRORS = {name for name in vars(ssm_hpn.errors) if name.endswith("Error")}


def modules():
    for file in sorted(PACKAGE.rglob("*.py")):
        yield file.relative_to(PACKAGE).parts[0].removesuffix(".py"), file


def imports(file):
    """(module, names) of every import of the package itself that runs, at any depth."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ssm_hpn":
            yield node.module, {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "ssm_hpn":
                    yield alias.name, set()


def test_imports_run_downwards_only():
    for top, file in modules():
        if top == "__init__":
            continue
        assert top in LAYER_OF, f"{file.name} has no layer: give it one in this test"
        for module, names in imports(file):
            parts = module.split(".")
            targets = {parts[1]} if len(parts) > 1 else names
            for target in targets:
                assert LAYER_OF[target] <= LAYER_OF[top], f"{file.relative_to(PACKAGE)} imports {target}"


# In the core, the modules of one row that need each other, and the types in which `data` meets a model.
NUMBERS = {"numeric", "simd"}
BATCH = {"Batch", "Input", "InputLimit", "Limits", "Segment", "Target"}


def core_rows():
    """The row of every module of the core in docs/architecture.md, from the bottom up."""
    house = (REPOSITORY / "docs/architecture.md").read_text(encoding="utf-8")
    table = house.split("```text\n")[1].split("```")[0]
    rows = [re.split(r" {10,}", line)[0].split() for line in table.splitlines()]
    return {name: number for number, row in enumerate(reversed(rows)) for name in row}


def core_imports(file):
    """(module, what of it) of every path in a Rust file that starts at the crate."""
    code = re.sub(r"//.*", "", file.read_text(encoding="utf-8"))
    assert not re.search(r"crate::[{*]", code), f"{file}: one `use` per module of the crate, by name"
    for module, braces, name in re.findall(r"\bcrate::(\w+)(?:::(?:\{([^;]*)\}|(\w+)))?", code):
        yield module, set(re.findall(r"\w+", braces or name))


def test_imports_of_the_core_run_downwards_only():
    rows, source = core_rows(), REPOSITORY / "rust/core/src"
    there = set(re.findall(r"^pub mod (\w+);", (source / "lib.rs").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(rows) == there
    for file in sorted(source.rglob("*.rs")):
        top = file.relative_to(source).parts[0].removesuffix(".rs")
        if top == "lib":
            continue
        for module, names in core_imports(file):
            where = f"{file.relative_to(source)} imports {module}"
            assert module in rows, where
            allowed = module == top or rows[module] < rows[top] or {module, top} == NUMBERS
            assert allowed, f"{where}, which is not below {top}"
            if module == "data" and top not in {"data", "session"}:
                assert names <= BATCH, f"{where}: {sorted(names - BATCH)}"


def test_exception_classes_come_from_one_module():
    for top, file in modules():
        for module, names in imports(file):
            if module == "ssm_hpn._core":
                assert top in CORE_USERS, f"{file.relative_to(PACKAGE)} imports the compiled module"
                assert top == "errors" or not names & ERRORS, f"{file.relative_to(PACKAGE)} bypasses ssm_hpn.errors"


def test_only_the_command_line_prints_or_exits():
    for top, file in modules():
        if top in {"cli", "train", "__main__"}:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in {"print", "sys.exit", "exit"}, f"{file}:{node.lineno}"


def test_a_plain_import_is_light():
    heavy = ["pyarrow", "rich", "pydantic_settings", "argparse", "pandas", "sklearn", "ssm_hpn.prepare", "ssm_hpn.cli"]
    code = f"import sys, ssm_hpn; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_public_names_are_few_and_there():
    assert len(ssm_hpn.__all__) <= 12
    for name in ssm_hpn.__all__:
        assert getattr(ssm_hpn, name) is not None
