# Sets up everything in .venv and runs the main jobs. Needs Python 3.11+ and a package index.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo bench test slow lint types setup clean

help:  ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(READY)  ## Make .venv with the package and its development tools

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "vonenet needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V). Try: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@echo "installing PyTorch and the rest: a few minutes, about 6 GB"
	$(BIN)/python -m pip install --quiet --progress-bar on -e '.[dev]'
	@touch $(READY)

demo: setup  ## Train a base network and its VOneNet, measure both, write demo/report.html
	$(BIN)/vonenet demo --out demo

bench: setup  ## Measure speed and memory, write docs/performance.md
	$(BIN)/python -m pip install --quiet foolbox adversarial-robustness-toolbox
	$(BIN)/python -m pip install --quiet --no-deps torchattacks  # it pins an old requests
	$(BIN)/vonenet bench --out docs/performance.md

test: setup  ## Run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

slow: setup  ## Run the slow tests: every timm network, and more
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m slow

lint: setup  ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup  ## Check types
	$(BIN)/mypy

clean:  ## Remove the environment and what the demo wrote
	rm -rf $(VENV) demo
