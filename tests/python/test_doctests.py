"""The examples in docstrings: they run, and every public function and class has one."""

import ast
import doctest
import importlib
import inspect
from pathlib import Path

import pytest

import ssm_hpn
from ssm_hpn import estimators
from ssm_hpn.config import Config, Section

PACKAGE = Path(ssm_hpn.__file__).parent
STUB = PACKAGE / "_core.pyi"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

MODULES = [
    ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for file in sorted(PACKAGE.rglob("*.py"))
    if ">>> " in file.read_text(encoding="utf-8")
]


def stub_docs():
    """The docstrings of the compiled module's classes and functions, which its stub has, by dotted name."""

    def walk(node, path):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef):
                name = f"{path}{child.name}"
                yield name, ast.get_docstring(child) or "", child.lineno
                yield from walk(child, f"{name}.")

    yield from walk(ast.parse(STUB.read_text(encoding="utf-8")), "")


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_run(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(module), optionflags=FLAGS)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize(("name", "doc", "line"), [entry for entry in stub_docs() if ">>> " in entry[1]])
def test_the_examples_of_the_compiled_module_run(name, doc, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example = doctest.DocTestParser().get_doctest(doc, {}, name, str(STUB), line)
    result = doctest.DocTestRunner(optionflags=FLAGS).run(example)
    assert result.attempted > 0
    assert result.failed == 0


def public():
    """The functions and classes that users import.

    Exceptions have their examples at the head of `ssm_hpn.errors`, sections of settings in `Config` and docs/config.md.
    """
    own = [name for name, value in vars(estimators).items() if getattr(value, "__module__", "") == estimators.__name__]
    names = {module: module.__all__ for module in (ssm_hpn, ssm_hpn.config, ssm_hpn.errors)}
    for module, exported in (names | {estimators: [name for name in own if not name.startswith("_")]}).items():
        for name in exported:
            value = getattr(module, name)
            shown_elsewhere = inspect.isclass(value) and issubclass(value, Exception | Section) and value is not Config
            if callable(value) and not shown_elsewhere:
                yield f"{module.__name__}.{name}", value


def test_every_public_function_and_class_has_an_example():
    core = {name: doc for name, doc, _ in stub_docs()}
    docs = {
        path: core.get(value.__name__, "") if value.__module__.endswith("._core") else value.__doc__ or ""
        for path, value in public()
    }
    assert [path for path, doc in docs.items() if ">>> " not in doc] == []
