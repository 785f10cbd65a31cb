PYTHON ?= python3
VENV ?= .venv
JOB_DIR ?= runs/quickstart

BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test test-slow lint format bench

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(INSTALLED) ## make .venv and install the project and its tools in it

$(INSTALLED): setup.py
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --upgrade 'pip>=23'
	$(BIN)/pip install --editable '.[dev]'
	touch $@

quickstart: $(INSTALLED) ## train on MovieLens-1M, end with recommendations
	$(BIN)/python -m trainer.task --job-dir $(JOB_DIR)

test: $(INSTALLED) ## run the tests
	$(BIN)/pytest -n 2 --dist loadfile

test-slow: $(INSTALLED) ## run the tests that take minutes each
	$(BIN)/pytest -m slow

lint: $(INSTALLED) ## check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(INSTALLED) ## put the code in shape
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(INSTALLED) ## measure what the README claims, as JSON lines
	$(BIN)/pip install --quiet --requirement benchmarks/requirements.txt
	for benchmark in train_step training_loop item_sampling sampling_accuracy \
	    data_prep serving; do \
	  $(BIN)/python -m benchmarks.$$benchmark || exit 1; \
	done
