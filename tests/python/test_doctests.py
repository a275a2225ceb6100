"""The examples in docstrings: they run, and every public function and class has one."""

import ast
import doctest
import importlib
import inspect
import re
from pathlib import Path

import pytest

import ssm_hpn
from ssm_hpn.config import Config, Section

PACKAGE = Path(ssm_hpn.__file__).parent
STUB = PACKAGE / "_core.pyi"
MAKEFILE = Path(__file__).parents[2] / "Makefile"
SURFACE = Path(__file__).parents[1] / "golden/python-api.txt"
ADAPTERS = {f"ssm_hpn.estimators.{name}": name for name in ("aeon", "sktime")}
"""Modules that need a package which the tests do not: `make test-aeon` runs their examples."""
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
    if module in ADAPTERS:
        pytest.importorskip(ADAPTERS[module], reason=f"{ADAPTERS[module]} is not installed: make test-aeon")
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


def documented_modules():
    """The modules that `make docs` writes pages of, and those whose names MIGRATION.md promises."""
    line = re.search(
        r"^PAGES := (\S+) \$\(addprefix (\S+),([^)]*)\)$", MAKEFILE.read_text(encoding="utf-8"), re.MULTILINE
    )
    pages = {line[1], *(line[2] + name for name in line[3].split())}
    promised = re.findall(r"^(ssm_hpn\.[a-z_]+)\.", SURFACE.read_text(encoding="utf-8"), re.MULTILINE)
    return sorted(pages | set(promised))


def public():
    """The functions and classes that users import, by name, without two kinds.

    Exceptions have their examples at the head of `ssm_hpn.errors`, sections of settings in `Config` and docs/config.md.
    """
    for module in map(importlib.import_module, documented_modules()):
        own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
        for name in getattr(module, "__all__", own):
            value = getattr(module, name)
            elsewhere = inspect.isclass(value) and issubclass(value, Exception | Section) and value is not Config
            if not name.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value)) and not elsewhere:
                yield f"{module.__name__}.{name}", value


def methods(kind):
    """The public methods of a class that are written in this package, its bases' too, by name."""
    for base in kind.__mro__:
        if base.__module__.startswith("ssm_hpn"):
            for name, value in vars(base).items():
                function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
                if not name.startswith("_") and inspect.isfunction(function):
                    yield name, function


def shown(doc):
    """The examples in a docstring, without what they print."""
    return "\n".join(example.source for example in doctest.DocTestParser().get_examples(doc or ""))


def without_example(items, core):
    """Names of functions and classes without an example, and of methods that no example calls."""
    items = list(items)
    docs = {
        path: core.get(value.__name__, "") if "_core" in value.__module__ else value.__doc__ for path, value in items
    }
    calls = {value: shown(docs[path]) for path, value in items}
    missing = [path for path, value in items if not calls[value]]
    for path, kind in items:
        if inspect.isclass(kind):
            family = [text for other, text in calls.items() if inspect.isclass(other) and issubclass(other, kind)]
            family += [calls.get(base, "") for base in kind.__mro__]
            for name, function in methods(kind):
                if not shown(function.__doc__) and not any(re.search(rf"\.{name}\(", text) for text in family):
                    missing.append(f"{path}.{name}")
    return missing


def test_every_public_function_class_and_method_has_an_example():
    items = list(public())
    assert {"ssm_hpn.Trainer", "ssm_hpn.prepare.prepare", "ssm_hpn.errors.problem"} <= {path for path, _ in items}
    assert without_example(items, {name: doc for name, doc, _ in stub_docs()}) == []


class _Bare:
    """Shows one method.

    >>> _Bare().shown()
    """

    def shown(self):
        """Is called above."""

    def hidden(self):
        """Is called nowhere."""


_Bare.__module__ = "ssm_hpn.bare"


def test_a_method_and_a_function_without_an_example_are_named():
    assert without_example([("bare.Bare", _Bare), ("bare.shown", methods)], {}) == ["bare.shown", "bare.Bare.hidden"]
