# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What is imported is compiled then; all files of all packages take as long as the rest.
PIP := $(BIN)/python -m pip install --quiet --no-compile -c constraints.txt
STAMP := $(VENV)/.installed-dev
DEMO_STAMP := $(VENV)/.installed

# Tests start hundreds of processes: without bytecode, each would compile droplab anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test install check style types suite bench clean

demo: $(DEMO_STAMP)
	$(BIN)/droplab demo

# Tests wait for processes and browsers: four share two cores, and the types are checked meanwhile.
test: style
	$(MAKE) --no-print-directory --jobs=2 types suite

install: $(STAMP)

check: style types

style: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(STAMP)
	$(BIN)/pyright --pythonpath $(BIN)/python

# What tests import, and the kernel of every dtype, is compiled once, by one process that reads all
# tests and runs these; the four would do it at the same time.
suite: $(STAMP)
	-$(BIN)/python -m pytest -qq -k "mask_is_the_same_in_every_dtype or ops._noise" > /dev/null
	$(BIN)/python -m pytest -n 4 --dist worksteal

bench: $(STAMP)
	for file in benchmarks/bench_*.py; do $(BIN)/python $$file || exit 1; done

# The pip that a Python brings may be years old, and then takes three times as long.
$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip

$(DEMO_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[png,lab]'
	touch $@

$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[dev,models]'
	touch $@ $(DEMO_STAMP)

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .import_linter_cache .hypothesis runs
