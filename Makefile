# `make` lists what there is to do. Everything is installed into .venv (VENV=… for another); nothing else is touched.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Twice as many as there are processors: some tests wait for most of their time.
JOBS ?= $(shell expr $$(nproc) \* 2)

# Compiled tests and modules are kept: each of the tests' processes would compile them anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test test-ui ui-pictures test-pg test-python faults coverage audit check lint types unit format build bench bench-quick clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/demo ## watch a write propagate, on a PostgreSQL of its own
	@$(BIN)/omnicdc demo

test: $(VENV)/dev ## all tests; lint, types and layers beside them, told at the end
	@said=$$(mktemp); trap 'rm -f "$$said"' EXIT; \
	$(MAKE) --no-print-directory --keep-going lint types >"$$said" 2>&1 & beside=$$!; \
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup --ignore tests/ui/test_browser.py; tests=$$?; \
	wait $$beside; checks=$$?; cat "$$said"; exit $$((tests ? tests : checks))

check: lint types unit audit ## what to run before every commit: seconds

test-ui: $(VENV)/test-ui ## the page in Chromium; pictures of each page in .cache/ui
	$(BIN)/python -m pytest -q tests/ui/test_browser.py

ui-pictures: $(VENV)/test-ui ## the pictures in docs/ui, of an estate of its own
	@PYTHONPATH=tests $(BIN)/python -m ui.pictures docs/ui

audit: $(VENV)/dev ## known holes in what omnicdc stands on, and secrets in the repository
	$(BIN)/python tests/support/audit.py
	git ls-files -z | xargs -0 $(BIN)/detect-secrets-hook --no-verify --baseline .secrets.baseline

lint: $(VENV)/dev ## format, style and layers
	$(BIN)/ruff format --check --quiet
	$(BIN)/ruff check --quiet
	$(BIN)/lint-imports

types: $(VENV)/dev ## mypy, strict, tests as well
	$(BIN)/mypy

unit: $(VENV)/dev ## the tests that need nothing
	$(BIN)/python -m pytest -q -m "not server" --ignore tests/demo --ignore tests/faults --ignore tests/systemd

faults: $(VENV)/dev ## break it on purpose, for half an hour, with every long test, and write docs/how-it-was-tried.md
	$(BIN)/python -m pytest tests --campaign --guarantees docs/how-it-was-tried.md -n $(shell expr $$(nproc) + 1) --dist loadgroup

POSTGRES ?= 14 15 16 17 18
test-pg: $(VENV)/dev ## the database tests on PostgreSQL 14 to 18, fetched into .cache where missing
	@PYTHONPATH=tests $(BIN)/python -m support.servers $(POSTGRES) -- tests/promises tests/capture tests/daemon tests/db tests/delivery tests/registries tests/verify

PYTHONS ?= 3.11 3.12 3.13 3.14
test-python: ## all tests on each Python from 3.11 to 3.14 that is installed
	@for version in $(PYTHONS); do \
	  if python$$version -c '' 2>/dev/null; \
	  then $(MAKE) test PYTHON=python$$version VENV=.venv-$$version || exit 1; \
	  else echo "python$$version is not installed: not tried"; fi; done

coverage: $(VENV)/dev ## which branches the tests pass, in what they start as well
	$(BIN)/coverage erase
	-$(BIN)/coverage run -m pytest -q -n $(JOBS) --dist loadgroup
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under 95

format: $(VENV)/dev ## put the code into shape
	$(BIN)/ruff check --quiet --fix
	$(BIN)/ruff format --quiet

build: $(VENV)/dev ## wheel and sdist, into dist/
	$(BIN)/python -m build

bench: $(VENV)/bench ## measure every promise about speed, on a PostgreSQL of its own: 15 minutes
	@PYTHONPATH=tests $(BIN)/python -m bench

bench-quick: $(VENV)/bench ## the same, roughly: 2 minutes
	@PYTHONPATH=tests $(BIN)/python -m bench --quick

clean: ## remove what was built
	rm -rf .venv .venv-* .cache dist bench .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Debian's Python may come without ensurepip: then pip installs itself into the new environment.
$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV) 2>/dev/null || { $(PYTHON) -m venv --without-pip $(VENV) && $(PYTHON) -m pip --python $(VENV)/bin/python install --quiet pip; }

$(VENV)/demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[embedded]'
	@touch $@

$(VENV)/dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/demo

$(VENV)/test-ui: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test-ui]'
	@touch $@ $(VENV)/dev $(VENV)/demo

$(VENV)/bench: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@
