# Every target sets itself up: a fresh clone needs Python 3.11 and nothing else.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup sweep test check lint types imports acceptance clean

setup: $(READY)

$(READY): constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $(READY)

sweep: setup
	$(BIN)/python -m harness -m sweep=quickstart

test: setup
	$(BIN)/python -m pytest -n 2 -m "not slow"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/lint-imports

check: lint types imports test

acceptance: setup
	$(BIN)/python -m tests.acceptance

clean:
	rm -rf store .mypy_cache .ruff_cache .pytest_cache .hypothesis
