"""The imports of each module of a Rust crate, read from its sources.

A module is a file. It imports the module that a path leads to, however the path begins (`crate`, `super`, `self`, the
name of a child or of a module brought in by `use`), and it imports its own children, for it declares them. An item that
a parent re-exports counts as the parent's: a child that takes it from there is in a circle with it. Modules for tests
alone are left out.
"""

import re
from collections.abc import Iterator
from pathlib import Path

Module = tuple[str, ...]
INLINE = re.compile(r"\bmod\s+(\w+)\s*\{")
TESTS = re.compile(r"#\[cfg\(test\)\]\s*(?:pub(?:\(\w+\))?\s+)?mod\s+(\w+)\s*([;{])")
WORDS = re.compile(r"(?<![\w:])(?:crate|super|self|[a-z_][a-z_0-9]*)(?:::\w+)+")


def code_of(text: str) -> str:
    """The text without comments, strings and the modules for tests that are written in the file."""
    text = re.sub(r"//[^\n]*", "", text)
    text = re.sub(r'"(?:[^"\\]|\\.)*"', '""', text)
    for found in TESTS.finditer(text):
        if found[2] == "{":
            return code_of(text[: found.start()] + text[block_end(text, found.end()) :])
    return text


def block_end(text: str, start: int) -> int:
    """End of the block whose first character after the brace is at `start`."""
    end, depth = start, 1
    while depth and end < len(text):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        end += 1
    return end


def paths_of(use: str) -> Iterator[list[str]]:
    """Every path of a tree such as `a::{b, c::{d, self}}`."""
    head, brace, rest = use.strip().partition("{")
    prefix = [part.strip() for part in re.sub(r"\s+as\s+\w+$", "", head).split("::") if part.strip()]
    if not brace:
        yield prefix
        return
    depth, start, inner = 0, 0, rest[: rest.rindex("}")] + ","
    for at, letter in enumerate(inner):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == "," and not depth:
            if inner[start:at].strip():
                for path in paths_of(inner[start:at]):
                    yield prefix + path
            start = at + 1


def leads_to(path: list[str], here: Module, known: set[Module]) -> Module | None:
    """The innermost module on a path; None for one that leaves the crate."""
    head, rest = path[0], path[1:]
    if head == "crate":
        module: Module = ()
    elif head == "self":
        module = here
    elif head == "super":
        module = here[:-1]
        while rest and rest[0] == "super":
            module, rest = module[:-1], rest[1:]
    elif (*here, head) in known:
        module = (*here, head)
    else:
        return None
    for name in rest:
        if (*module, name) not in known:
            break
        module = (*module, name)
    return module


def imports_of(here: Module, text: str, known: set[Module]) -> set[Module]:
    """The modules that one file imports."""
    found = {known_part(module, known) for module in imports_in(here, code_of(text), known)}
    return found - {here}


def imports_in(here: Module, code: str, known: set[Module]) -> set[Module]:
    """The modules to which the paths of some code lead; a module that is written in the file is a child of it."""
    inner: set[Module] = set()
    while inline := INLINE.search(code):
        end = block_end(code, inline.end())
        inner |= imports_in((*here, inline[1]), code[inline.end() : end - 1], known)
        code = code[: inline.start()] + code[end:]
    uses = [path for use in re.findall(r"\buse\s+([^;]+);", code) for path in paths_of(use)]
    words = [found.split("::") for found in WORDS.findall(re.sub(r"\buse\s+[^;]+;", "", code))]
    brought_in = {}
    for path in uses:
        module = leads_to(path, here, known)
        if module and module[-1] == path[-1]:
            brought_in[path[-1]] = module
    found = {leads_to(path, here, known) for path in uses + words}
    found |= {brought_in[path[0]] for path in words if path[0] in brought_in}
    found |= {(*here, name) for name in re.findall(r"\bmod\s+(\w+);", code) if (*here, name) in known}
    return inner | {module for module in found if module is not None}


def known_part(module: Module, known: set[Module]) -> Module:
    """The file that a module is written in."""
    while module not in known:
        module = module[:-1]
    return module


def rust_graph(source: Path) -> dict[Module, set[Module]]:
    """By module of a crate, the modules that it imports; the crate itself is `()`."""
    files: dict[Module, Path] = {}
    for file in source.rglob("*.rs"):
        parts = file.relative_to(source).with_suffix("").parts
        files[() if parts == ("lib",) else parts[:-1] if parts[-1] == "mod" else parts] = file
    texts = {module: file.read_text(encoding="utf-8") for module, file in files.items()}
    tests = {(*module, found[1]) for module, text in texts.items() for found in TESTS.finditer(text)}
    known = {module for module in texts if not any(module[: len(test)] == test for test in tests)}
    return {module: imports_of(module, texts[module], known) for module in sorted(known)}
