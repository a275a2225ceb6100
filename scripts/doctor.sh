#!/usr/bin/env bash
# Prints one line for each tool that is missing on this machine, with how to install it. Exits with 0 if none is.
# Usage: doctor.sh [--quiet] [PYTHON]
set -u
quiet=0
[ "${1:-}" = "--quiet" ] && { quiet=1; shift; }
python=${1:-python3}
missing=0

say() { [ "$quiet" = 1 ] || printf 'ok       %s\n' "$1"; }
lack() { printf 'missing  %s\n' "$1" >&2; missing=1; }

# The advice depends on the package manager.
if command -v apt-get >/dev/null 2>&1; then install="apt-get install"; venv="python3-venv"; linker="build-essential"
elif command -v dnf >/dev/null 2>&1; then install="dnf install"; venv="python3"; linker="gcc"
elif command -v brew >/dev/null 2>&1; then install="brew install"; venv="python"; linker="gcc (or run: xcode-select --install)"
else install="install"; venv="Python's venv module"; linker="a C linker (gcc or clang)"; fi

if ! command -v "$python" >/dev/null 2>&1; then
  lack "Python: $python is not on the PATH; $install python3, or run: make PYTHON=/path/to/python3.11 ..."
elif ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  lack "Python 3.11 or newer: $python is $("$python" -V 2>&1); install a newer one and run: make PYTHON=python3.11 ..."
else
  say "$("$python" -V 2>&1)"
  if "$python" -c 'import venv, ensurepip' 2>/dev/null; then say "venv"; else lack "Python's venv module; $install $venv"; fi
fi

if ! command -v cargo >/dev/null 2>&1 || ! command -v rustc >/dev/null 2>&1; then
  lack "Rust toolchain: cargo is not on the PATH; install it from https://rustup.rs"
else
  have=$(rustc --version 2>/dev/null | sed -E 's/^rustc ([0-9]+)\.([0-9]+).*/\1 \2/')
  read -r major minor <<<"${have:-0 0}"
  if [ "${major:-0}" -gt 1 ] || { [ "${major:-0}" -eq 1 ] && [ "${minor:-0}" -ge 89 ]; }; then say "$(rustc --version)"
  else lack "Rust 1.89 or newer: found $(rustc --version 2>&1); run: rustup update stable"; fi
fi

if [[ ${OSTYPE:-} == msys* || ${OSTYPE:-} == cygwin* ]]; then
  # rustc finds Visual Studio by itself, through the registry
  if [ -e "/c/Program Files (x86)/Microsoft Visual Studio/Installer/vswhere.exe" ]; then say "C linker (Visual Studio)"
  else lack "C linker: no Visual Studio; install its Build Tools with the C++ workload"; fi
elif command -v cc >/dev/null 2>&1 || command -v gcc >/dev/null 2>&1 || command -v clang >/dev/null 2>&1; then say "C linker"
else lack "C linker: none of cc, gcc, clang is on the PATH; $install $linker"; fi

if command -v make >/dev/null 2>&1; then say "make"; else lack "make; $install make"; fi

# Needed by one test only.
if command -v jq >/dev/null 2>&1; then say "jq"
elif [ "$quiet" = 0 ]; then printf 'note     jq is not on the PATH: make test leaves out one test; %s jq to have it\n' "$install"; fi
if command -v strace >/dev/null 2>&1; then say "strace"
elif [ "$quiet" = 0 ]; then printf 'note     strace is not on the PATH: no system call is made to fail in tests; %s strace to have it\n' "$install"; fi

exit "$missing"
