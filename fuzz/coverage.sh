#!/usr/bin/env bash
# The compiler for the coverage of `make fuzz` (RUSTC_WRAPPER): lines of this repository are counted.
if [[ " $* " =~ " --crate-name "(ssm_hpn|ssm_hpn_fuzz|replay)" " ]]; then
  set -- "$@" -Cinstrument-coverage
fi
exec "$@"
