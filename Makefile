# Two commands do everything: `make demo` (see it work) and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A process for each processor, four at most: each may hold a gigabyte. PYTEST= runs all tests in one.
PYTEST ?= --numprocesses logical --maxprocesses 4 --no-loadscope-reorder
STAMP := $(VENV)/.installed

.PHONY: help setup demo test test-real bench docs client check format clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP)  ## make the virtual environment with pinned dependencies

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; try: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[service,train,postgres,tracing,dev,docs]'
	touch $@

demo: $(STAMP)  ## the main job, end to end; DATA=folder uses your own images/ and masks/
	$(BIN)/dale demo $(if $(DATA),--data '$(DATA)')

test: $(STAMP)  ## every test that needs no further server
	$(BIN)/python -m pytest $(PYTEST) -m 'not real'

test-real: $(STAMP)  ## the slower tests on real parts: PostgreSQL, S3, Ray, Chromium
	$(BIN)/python -m pytest $(PYTEST) -m real

bench: $(STAMP)  ## quick benchmarks against peers, into build/bench.json; ONLY=name runs one
	$(BIN)/python -m tests.benchmarks.bench $(if $(ONLY),--only '$(ONLY)')

docs: $(STAMP)  ## the documentation site, into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo build/site/index.html

client: $(STAMP)  ## write the synchronous client from the asynchronous one
	$(BIN)/python -P service/client/from_async.py

check: $(STAMP)  ## format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)  ## put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove the virtual environment and build outputs
	rm -rf $(VENV) build dist *.egg-info
