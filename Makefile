PYTHON ?= python3
VENV ?= .venv
BEAM_VENV ?= .venv-beam
JOB_DIR ?= runs/quickstart

BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
BEAM_INSTALLED := $(BEAM_VENV)/installed

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test test-fast test-extended test-slow test-beam \
    lint format bench

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(INSTALLED) ## make .venv and install the project and its tools in it

$(VENV)/bin/pip $(BEAM_VENV)/bin/pip: %/bin/pip:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(not (3, 11) <= v < (3, 14) and f"Python 3.11, 3.12 or 3.13 is needed, and {sys.executable} is {v.major}.{v.minor}: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $*
	$@ install --upgrade 'pip>=23'

$(INSTALLED): setup.py | $(VENV)/bin/pip
	$(BIN)/pip install --editable '.[dev]'
	touch $@

$(BEAM_INSTALLED): setup.py | $(BEAM_VENV)/bin/pip
	$(BEAM_VENV)/bin/pip install --editable '.[beam]' 'hypothesis>=6.100' 'pytest>=9'
	touch $@

quickstart: $(INSTALLED) ## train on MovieLens-1M, end with recommendations
	$(BIN)/python -m trainer.task --job-dir $(JOB_DIR)

test: $(INSTALLED) ## run the tests
	$(BIN)/pytest -n 2 --dist loadfile

test-fast: $(INSTALLED) ## run the tests without training, jobs, commands and servers
	$(BIN)/pytest -n 2 --dist loadfile -m 'not (integration or extended or slow)'

test-extended: $(INSTALLED) ## run the tests of further cases of whole jobs
	$(BIN)/pytest -n 2 --dist loadfile -m 'extended and not slow'

test-slow: $(INSTALLED) ## run the tests that take minutes each
	$(BIN)/pytest -n 2 --dist loadfile -m slow

test-beam: $(BEAM_INSTALLED) ## run the tests of the Beam pipelines
	$(BEAM_VENV)/bin/pytest tests/data_prep/engine/beam_stages_test.py \
	    tests/export/scoring/beam_scoring_test.py

lint: $(INSTALLED) ## check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(INSTALLED) ## put the code in shape
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(INSTALLED) ## measure what the docs claim, as JSON lines
	$(BIN)/pip install --quiet --requirement benchmarks/requirements.txt
	for benchmark in startup train_step training_loop checkpoints item_sampling \
	    sampling_accuracy scaling data_prep serving; do \
	  $(BIN)/python -m benchmarks.$$benchmark || exit 1; \
	done
