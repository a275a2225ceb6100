#!/usr/bin/env bash
# Builds and runs the crate that lives outside the workspace and brings its own block and head.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo run --quiet --manifest-path tests/external-crate/Cargo.toml --target-dir target/external
