#!/usr/bin/env bash
# The compiler for `make fuzz` (RUSTC_WRAPPER): code of this repository counts its branches, on stable Rust. Code of other
# packages does not, so that inputs are kept for what they reach here.
if [[ " $* " =~ " --crate-name "(ssm_hpn|ssm_hpn_fuzz|manifest|shard|checkpoint|upgrade|config)" " ]]; then
  set -- "$@" --cfg=fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares
fi
exec "$@"
