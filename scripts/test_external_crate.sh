#!/usr/bin/env bash
# Builds and runs a crate outside the workspace that brings its own stem, block, head and target, with the versions of the workspace.
set -euo pipefail
cd "$(dirname "$0")/.."
cp Cargo.lock tests/external-crate/Cargo.lock
cargo run --quiet --profile test --manifest-path tests/external-crate/Cargo.toml --target-dir target
