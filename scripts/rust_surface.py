"""Public items of the crate `ssm-hpn`, read from the pages of its documentation, and the check of their examples.

Usage: python scripts/rust_surface.py    (prints a line for each item that lacks an example or has a second path)

The pages hold what the compiler takes for public, with its types resolved, which a search of the sources does not
know; what is `#[doc(hidden)]` has no page. The rules:

- A struct, enum, trait, function or macro has an example in its own doc comment.
- A method has one too, or is called by an example on the page of its type or of a type that its declaration names.
  Fields, variants and the methods of traits need none: the example of their type or trait shows them.
- An example is Rust that is run: none is ignored or meant to fail, and only those in ONLY_COMPILED are `no_run`.
- An item has one path: no other public module exports it again.
"""

from __future__ import annotations

import html
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "target/doc/ssm_hpn"
SOURCES = ROOT / "rust/core/src"

WITH_EXAMPLE = {"struct", "enum", "trait", "fn", "macro"}
# Files with an example that is only compiled: examples are built without optimisation.
ONLY_COMPILED = {"session/profile.rs"}  # `product_peak` would take ten seconds

EXAMPLE = r'<div class="example-wrap"><pre class="rust rust-example-rendered">(.*?)</pre>'
FENCE = re.compile(r"^\s*//[/!]\s*```\S*\b(ignore|no_run|compile_fail|should_panic)\b")
# Behind it are the traits that a type implements: half of a page are blanket ones of other crates.
TRAITS = r'id="(?:trait|synthetic|blanket)-implementations'


@dataclass(frozen=True)
class Item:
    """A public item: what it is, its path without the crate, and the text of its page."""

    kind: str
    path: str
    page: str

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("::")[2]

    @property
    def own(self) -> str:
        """The page without the traits that a type implements."""
        return re.split(TRAITS, self.page)[0]

    @property
    def description(self) -> str:
        """Its own doc comment."""
        return first(r'<details class="toggle top-doc" open>(.*?)</details>', self.page)

    @property
    def declaration(self) -> str:
        """As it is written, its types resolved."""
        return plain(first(r'<pre class="rust item-decl">(.*?)</pre>', self.page))

    @property
    def source(self) -> str:
        """The file and the lines that it is written in."""
        return first(r'<a class="src" href="[./]*([^"]*)"', self.page)

    @property
    def methods(self) -> dict[str, tuple[str, str]]:
        """Declaration and doc comment of each public method by its name; a trait's are in its declaration."""
        found = {}
        for part in self.own.split('<section id="')[1:] if self.kind != "trait" else []:
            declaration = plain(first(r'<h4 class="code-header">(.*?)</h4>', part))
            if part.startswith("method.") and declaration.startswith("pub "):
                found[first(r"method\.(\w+)", part)] = (declaration, part)
        return found


def first(pattern: str, text: str) -> str:
    """What the group of a pattern finds first; nothing where it finds nothing."""
    found = re.search(pattern, text, re.DOTALL)
    return found[1] if found else ""


def plain(fragment: str) -> str:
    """The text of a piece of a page, in one line."""
    without = re.sub(r'<a href="#" class="tooltip.*?</a>|<[^>]*>', "", fragment, flags=re.DOTALL)
    return " ".join(html.unescape(without).split())


def examples(fragment: str) -> str:
    """The Rust examples in a piece of a page."""
    return "\n".join(map(plain, re.findall(EXAMPLE, fragment, re.DOTALL)))


def write_pages() -> None:
    """Writes the pages where a source has changed. Those of former items stay, so only what is linked to counts."""
    if subprocess.run(["cargo", "doc", "-p", "ssm-hpn", "--no-deps", "--quiet"], cwd=ROOT, check=False).returncode:
        sys.exit("cargo doc failed: the pages of the documentation could not be written")


def public_items() -> list[Item]:
    """Every item that has a page, by path and kind."""
    index = (PAGES / "all.html").read_text(encoding="utf-8")
    items = []
    for path, kind, name in sorted(
        set(re.findall(r'href="([\w/]*?)(struct|enum|trait|fn|type|constant|macro)\.(\w+)\.html"', index))
    ):
        page = (PAGES / path / f"{kind}.{name}.html").read_text(encoding="utf-8")
        items.append(Item(kind, f"{path.replace('/', '::')}{name}", page))
    return items


def surface(items: list[Item]) -> list[str]:
    """Items and their methods for the snapshot: kind, path and declaration, without the traits that types implement."""
    lines = []
    for item in items:
        declarations = [item.declaration, *(declaration for declaration, _ in item.methods.values())]
        lines += [f"{item.kind} {item.path}: {declaration}" for declaration in declarations]
    return sorted(lines)


def modules(folder: Path = PAGES) -> dict[str, str]:
    """The page of every public module by its path, that of the crate under `crate`."""
    pages = {"crate": (folder / "index.html").read_text(encoding="utf-8")}
    waiting = list(pages.items())
    while waiting:
        path, page = waiting.pop()
        for name in re.findall(r'<a class="mod" href="(\w+)/index\.html"', page):
            inner = f"{path}::{name}"
            file = folder.joinpath(*inner.split("::")[1:], "index.html")
            pages[inner] = file.read_text(encoding="utf-8")
            waiting.append((inner, pages[inner]))
    return pages


def without_example(items: list[Item]) -> Iterator[str]:
    """Items and methods that no example shows."""
    shown = {item.name: "" for item in items}
    for item in items:
        shown[item.name] += examples(item.own)
    for item in items:
        if item.kind in WITH_EXAMPLE and not examples(item.description):
            yield f"{item.kind} {item.path}: no example in its doc comment"
        for name, (declaration, description) in item.methods.items():
            named = set(re.findall(r"\w+", declaration)) & shown.keys()
            calls = "\n".join(shown[other] for other in sorted(named | {item.name}))
            if not examples(description) and not re.search(rf"(?:\.|::){name}(?:::<[^(]*>)?\(", calls):
                yield f"method {item.path}::{name}: no example calls it, of its own or of its types"


def second_paths(items: list[Item], pages: Mapping[str, str]) -> Iterator[str]:
    """Items with two pages, and what a module with this page exports again.

    rustdoc lists an export as such where the item has a page elsewhere, and gives it a page in the module where not.
    """
    paths: dict[str, str] = {}
    for item in items:
        if item.source in paths:
            yield f"{item.kind} {item.path}: has the path {paths[item.source]} as well"
        paths.setdefault(item.source, item.path)
    for module, page in pages.items():
        for export in re.findall(r'<dt id="reexport\.[^"]*"><code>(.*?)</code>', page, re.DOTALL):
            yield f"module {module}: exports again what has a path: {plain(export)}"


def not_run(files: Mapping[str, str]) -> Iterator[str]:
    """Examples that are not run, in sources by their path below the crate's."""
    for path, text in files.items():
        for number, line in enumerate(text.splitlines(), 1):
            found = FENCE.match(line)
            if found and not (found[1] == "no_run" and path in ONLY_COMPILED):
                yield f"{path}:{number}: an example that is not run: {found[1]}"


def main() -> int:
    """Prints each problem in a line; 1 if there is any."""
    write_pages()
    items, pages = public_items(), modules()
    problems = [
        *without_example(items),
        *second_paths(items, pages),
        *not_run({file.relative_to(SOURCES).as_posix(): file.read_text("utf-8") for file in SOURCES.rglob("*.rs")}),
    ]
    if not items or len(pages) == 1:
        problems.append(f"{PAGES}: expected the pages of items and modules, found none; did rustdoc change them?")
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
