# Every target builds .venv by itself; it needs python3 (3.11 or newer), python3-venv, git and make.
#   make demo            four schedules on a slow network: a table and timelines in runs/quickstart
#   make test            everything CI checks, in CI's order
#   make demo PYTHON=python3.12   another interpreter, for the first build of .venv

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test bench lint install golden docs clean
help:
	@echo "make demo | test | bench | lint | install | golden | docs | clean   (PYTHON=python3.12 to choose an interpreter)"

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "edgesim needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) -V 2>&1)."; \
	  echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	  echo "== making $(VENV)"; $(PYTHON) -m venv --clear $(VENV) || { \
	  echo "No virtual environment could be made. On Debian or Ubuntu: apt-get install python3-venv"; exit 1; }; }
	@echo "== installing edgesim and what it needs into $(VENV) (once; some minutes, torch is large)"
	@$(BIN)/python -m pip install --quiet --no-input -c constraints.txt -e '.[test,zoo]'
	@touch $@

demo: $(STAMP)
	$(BIN)/edgesim compare scenarios/quickstart.yaml --out runs/quickstart

lint: $(STAMP)
	@echo "== ruff format --check" && $(BIN)/python -m ruff format --check .
	@echo "== ruff check" && $(BIN)/python -m ruff check .
	@echo "== mypy (strict)" && $(BIN)/python -m mypy
	@echo "== lint-imports" && $(BIN)/lint-imports

# One thread a test process: two of them share the cores, and measured times are taken on one thread anyway.
test: lint
	@echo "== pytest: unit tests, doctests, notebooks, README commands" && \
	  OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

bench: $(STAMP)
	@for script in benchmarks/*.py; do \
	  echo "== $$script --quick" && $(BIN)/python $$script --quick || exit 1; done

golden: $(STAMP)
	$(BIN)/python tests/test_golden.py

docs: $(STAMP)
	$(BIN)/edgesim schema --out edgesim/scenario/schema.json
	$(BIN)/python docs/generate.py

clean:
	rm -rf runs build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
