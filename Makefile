# `make demo` and `make test` set up all that they need in .venv; everything else builds on that.
# Python: any 3.11 to 3.13 (PYTHON=python3.13 make test). uv is used when it is on the PATH, else venv and pip.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
UV     := $(shell command -v uv 2>/dev/null)

.PHONY: demo test lint types unit bench bench-index bench-capacity bench-index-engines docs lock clean

demo: $(VENV)/.ready
	@PATH="$(abspath $(BIN)):$$PATH" sh examples/handbook/demo.sh

test: lint types unit

lint: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

types: $(VENV)/.ready-dev
	$(BIN)/mypy

unit: $(VENV)/.ready-dev
	$(BIN)/pytest $(PYTEST_ARGS)

bench: bench-index
	$(BIN)/python benchmarks/latency.py

bench-index: $(VENV)/.ready-dev
	$(BIN)/python benchmarks/indexing.py

# Texts are embedded once, into CACHE: for example make bench-capacity BENCH_ARGS="--texts ~/papers --write"
CACHE ?= .bench
bench-capacity: $(VENV)/.ready-dev
	$(BIN)/python benchmarks/capacity.py --cache $(CACHE) $(BENCH_ARGS)

bench-index-engines: $(VENV)/.ready-dev
	$(BIN)/python benchmarks/index_engines.py --cache $(CACHE) $(BENCH_ARGS)

docs: $(VENV)/.ready-dev
	$(BIN)/python docs/generate.py

# One lock file for all supported Pythons and systems.
lock:
	uv pip compile -q pyproject.toml --all-extras --group dev --universal --python-version 3.11 --no-header --no-emit-index-url -o requirements.lock
	uv pip compile -q pyproject.toml --universal --python-version 3.11 --no-header --no-emit-index-url -c requirements.lock -o requirements-run.lock

$(VENV)/bin/python:
ifdef UV
	uv venv -q --python $(PYTHON) $(VENV)
else
	$(PYTHON) -m venv $(VENV)
endif

$(VENV)/.ready: $(VENV)/bin/python pyproject.toml requirements-run.lock
	$(call install,requirements-run.lock)
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready requirements.lock
	$(call install,requirements.lock)
	@touch $@

ifdef UV
define install
uv pip install -q --python $(BIN)/python -r $(1)
uv pip install -q --python $(BIN)/python --no-deps -e .
endef
else
define install
$(BIN)/python -m pip install -q --disable-pip-version-check -r $(1)
$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
endef
endif

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist build examples/handbook/.ragstone
