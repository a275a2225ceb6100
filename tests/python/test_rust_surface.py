"""scripts/rust_surface.py: what it says of pages that lack examples or have a second path."""

import importlib.util
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "rust_surface.py"
spec = importlib.util.spec_from_file_location("rust_surface", SCRIPT)
surface = sys.modules["rust_surface"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(surface)

METHOD = '<section id="method.{0}"><h4 class="code-header">pub fn {0}(&amp;self, a: <a>Other</a>)</h4></section>{1}'


def code(text, wrap="example-wrap", shown="rust rust-example-rendered"):
    """An example as rustdoc shows it."""
    return f'<div class="{wrap}"><pre class="{shown}"><code>{text}</code></pre></div>'


def item(kind, path, about="", methods="", lines="1-2"):
    """An item whose page has a description and methods."""
    source = f'<a class="src" href="../../src/ssm_hpn/{path[0]}.rs.html#{lines}">'
    declaration = f'<pre class="rust item-decl"><code>pub {kind} <b>{path}</b></code></pre>'
    description = f'<details class="toggle top-doc" open>{about}</details>'
    traits = '<div id="trait-implementations">' + code("blanket(), .of_a_trait()")
    return surface.Item(kind, path, source + declaration + description + methods + traits)


def test_an_item_has_an_example_of_its_own():
    described = [
        item("struct", "a::Shown", code("Shown::new()")),
        item("enum", "a::Ignored", code("Ignored", wrap="example-wrap ignore")),
        item("trait", "a::Listing", code("text", shown="language-text")),
        item("fn", "bare"),
        item("constant", "SIZE"),
    ]
    assert list(surface.without_example(described)) == [
        "enum a::Ignored: no example in its doc comment",
        "trait a::Listing: no example in its doc comment",
        "fn bare: no example in its doc comment",
    ]


def test_a_method_is_called_by_an_example_of_its_own_or_of_its_types():
    methods = [
        METHOD.format("own", code("1 + 1")),
        METHOD.format("shown", ""),
        METHOD.format("by_another", ""),
        METHOD.format("hidden", ""),
        METHOD.format("of_a_trait", ""),
    ]
    described = [
        item("struct", "a::Type", code("Type.shown(); Type.hidden_too()"), "".join(methods)),
        item("struct", "b::Other", code("<span>Type</span>::by_another::&lt;f32&gt;(Other)")),
        item("struct", "c::Third", code("x.hidden()")),
    ]
    assert list(surface.without_example(described)) == [
        f"method a::Type::{name}: no example calls it, of its own or of its types" for name in ("hidden", "of_a_trait")
    ]
    assert surface.surface(described)[1] == "struct a::Type: pub fn hidden(&self, a: Other)"


def test_a_second_path_is_named():
    described = [item("enum", "a::One"), item("enum", "a::inner::One"), item("enum", "a::Two", lines="4-5")]
    export = '<dt id="reexport.Two"><code>pub use <a>inner</a>::<a>Two</a>;</code></dt>'
    assert list(surface.second_paths(described, {"crate": "", "crate::a": export})) == [
        "enum a::inner::One: has the path a::One as well",
        "module crate::a: exports again what has a path: pub use inner::Two;",
    ]


def test_examples_that_are_not_run_are_named():
    fences = "/// ```\n//! ```ignore\n    /// ```text\n/// ```no_run\n/// ```rust,should_panic\n"
    assert list(surface.not_run({"a.rs": fences})) == [
        "a.rs:2: an example that is not run: ignore",
        "a.rs:4: an example that is not run: no_run",
        "a.rs:5: an example that is not run: should_panic",
    ]
    (allowed,) = surface.ONLY_COMPILED
    assert len(list(surface.not_run({allowed: fences}))) == 2
