"""Which module may import which: the direction of the house, read from the source; and what a plain import costs."""

import ast
import subprocess
import sys
from pathlib import Path

import ssm_hpn

PACKAGE = Path(ssm_hpn.__file__).parent

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
