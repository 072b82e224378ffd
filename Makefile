# Everything from a fresh clone with Python, make and pip. `make demo`, `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all board check format docs bench clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# A marker per set of packages, so that a second run installs nothing. It is older than pyproject.toml after an edit.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-run: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[tflite,tensorrt]"
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@ $(VENV)/.installed-run

install: $(VENV)/.installed-run ## make .venv and install edgecnn into it

demo: $(VENV)/.installed-run ## checkpoint to INT8 on three runtimes, measured and judged
	$(BIN)/edgecnn demo

# One worker for each core, four at most; the tests of a module share one.
PYTEST = $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadgroup

test: $(VENV)/.installed-dev ## run the tests a person waits for; PYTEST_ARGS="-k name" for some
	$(PYTEST) -m "not slow" $(PYTEST_ARGS)

test-all: test ## and the slow ones: the emulated board, conversions, torchrun, sweeps over libraries
	$(PYTEST) -m slow $(PYTEST_ARGS)

board: $(BIN)/python ## play with an emulated Raspberry Pi 5 (root on Debian; apt: mmdebstrap qemu-user-static openssh-client)
	$(BIN)/python tests/board/emulated_board.py

check: $(VENV)/.installed-dev ## lint, format, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev ## rewrite the code as ruff would have it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed-dev ## write docs/errors.md from the source
	$(BIN)/python tests/house/error_codes.py

bench: $(VENV)/.installed-dev ## the figures of benchmarks/ (minutes; real weights and images: see benchmarks/README.md)
	$(BIN)/python benchmarks/run.py

clean: ## remove what these targets made, .venv too
	rm -rf $(VENV) build dist demo .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
