# Sets up everything in .venv and runs the main jobs. Needs Python 3.11+ and a package index.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BRAINSCORE_VENV ?= .venv-brainscore
BRAINSCORE_PYTHON := $(BRAINSCORE_VENV)/bin/python
BRAINSCORE_READY := $(BRAINSCORE_VENV)/.ready

.PHONY: help demo bench frontends test coverage slow lint types brainscore setup clean

help:  ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

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

bench: setup  ## Measure speed and memory of this machine, write docs/performance.md
	$(BIN)/python -m pip install --quiet foolbox adversarial-robustness-toolbox
	$(BIN)/python -m pip install --quiet --no-deps torchattacks  # it pins an old requests
	$(BIN)/python -m benchmarks

frontends: setup  ## Record every front-end (an hour), write docs/frontends.md from the rows
	$(BIN)/vonenet physiology --front-end $$($(BIN)/python -c \
		"import vonenet; print(*vonenet.list_front_ends())") --out build/frontends
	mkdir -p results/frontends && cp build/frontends/results.jsonl results/frontends/
	$(BIN)/python scripts/draw_frontends.py build/frontends

test: setup  ## Run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

coverage: setup  ## Run the tests and print which lines of the package they miss
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow" \
		--cov=vonenet --cov-report=term:skip-covered

slow: setup  ## Run the slow tests: every timm network, and more
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m slow

lint: setup  ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup  ## Check types
	$(BIN)/mypy

brainscore: $(BRAINSCORE_READY)  ## Record V1 through Brain-Score, in an environment of its own
	plugin=$$($(BRAINSCORE_PYTHON) -c "$$FIND_PLUGIN") && \
		OMP_NUM_THREADS=1 $(BRAINSCORE_PYTHON) -m pytest -c pyproject.toml \
		-W ignore::FutureWarning -W "ignore:Pandas doesn't allow columns:UserWarning" \
		$$plugin/test*.py

define FIND_PLUGIN
import importlib.util, pathlib
print(pathlib.Path(importlib.util.find_spec("brainscore_vision").origin).parent / "models" / "vonenet")
endef
export FIND_PLUGIN

$(BRAINSCORE_READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' || \
		{ echo "Brain-Score needs numpy below 2, which Python 3.11 and 3.12 have; $(PYTHON) is $$($(PYTHON) -V). Try: make brainscore PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(BRAINSCORE_VENV)
	$(BRAINSCORE_PYTHON) -m pip install --quiet --upgrade pip
	@echo "installing PyTorch and Brain-Score: a few minutes, about 7 GB"
	$(BRAINSCORE_PYTHON) -m pip install --quiet --progress-bar on -e '.[brainscore]' pytest
	ln -sfn $(CURDIR)/integrations/brainscore $$($(BRAINSCORE_PYTHON) -c "$$FIND_PLUGIN")
	@touch $(BRAINSCORE_READY)

clean:  ## Remove the environments and what the demo wrote
	rm -rf $(VENV) $(BRAINSCORE_VENV) demo
