# `make` lists what there is to do. Everything is installed into .venv; nothing else is touched.
PYTHON ?= python3
BIN := .venv/bin
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test test-pg faults coverage audit check lint types unit format build bench bench-quick clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/demo ## watch a write propagate, on a PostgreSQL of its own
	@$(BIN)/omnicdc demo

test: lint types ## lint, types, layers, and all tests
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup

check: lint types unit audit ## what to run before every commit: seconds

audit: .venv/dev ## known holes in what omnicdc stands on, and secrets in the repository
	$(BIN)/python tests/support/audit.py
	git ls-files -z | xargs -0 $(BIN)/detect-secrets-hook --no-verify --baseline .secrets.baseline

lint: .venv/dev ## format, style and layers
	$(BIN)/ruff format --check --quiet
	$(BIN)/ruff check --quiet
	$(BIN)/lint-imports

types: .venv/dev ## mypy, strict, tests as well
	$(BIN)/mypy

unit: .venv/dev ## the tests that need nothing
	$(BIN)/python -m pytest -q tests/unit

faults: .venv/dev ## break it on purpose, for half an hour, and write the table of docs/guarantees.md
	$(BIN)/python -m pytest tests/faults --campaign --guarantees docs/guarantees.md -n $(JOBS) --dist worksteal

POSTGRES ?= 14 15 16 17 18
test-pg: .venv/dev ## the database tests on PostgreSQL 14 to 18, fetched into .cache where missing
	@PYTHONPATH=tests $(BIN)/python -m support.servers $(POSTGRES) -- tests/promises tests/capture tests/integration

coverage: .venv/dev ## which branches the tests pass, in what they start as well
	$(BIN)/coverage erase
	-$(BIN)/coverage run -m pytest -q -n $(JOBS) --dist loadgroup
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under 95

format: .venv/dev ## put the code into shape
	$(BIN)/ruff check --quiet --fix
	$(BIN)/ruff format --quiet

build: .venv/dev ## wheel and sdist, into dist/
	$(BIN)/python -m build

bench: .venv/bench ## measure every promise about speed, on a PostgreSQL of its own: 15 minutes
	@PYTHONPATH=tests $(BIN)/python -m bench

bench-quick: .venv/bench ## the same, roughly: 2 minutes
	@PYTHONPATH=tests $(BIN)/python -m bench --quick

clean: ## remove what was built
	rm -rf .venv .cache dist bench .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Debian's Python may come without ensurepip: then pip installs itself into the new environment.
.venv/bin/python:
	$(PYTHON) -m venv .venv 2>/dev/null || { $(PYTHON) -m venv --without-pip .venv && $(PYTHON) -m pip --python .venv/bin/python install --quiet pip; }

.venv/demo: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[embedded]'
	@touch $@

.venv/dev: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ .venv/demo

.venv/bench: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@
