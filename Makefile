# `make sample` draws four images, `make test` runs the tests; both make their own environment,
# `make sample` with no more than drawing needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
TOOLS := $(VENV)/tools
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PARALLEL := -n auto --maxprocesses 4 --dist worksteal

.PHONY: sample test quick fuzz lint format options completion clean

sample: $(READY)
	$(BIN)/python cfg_sample.py "a red apple on a blue background:3" -n 4 -bs 4 --model emoji

test: lint
	$(BIN)/python -m pytest $(PARALLEL)

quick: lint
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow"

# Cases of each target; others each time.
fuzz: $(TOOLS)
	FUZZ_CASES=$${FUZZ_CASES:-10000} $(BIN)/python -m pytest tests/fuzz

lint: $(TOOLS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(TOOLS)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# After a change of cli/options.py.
options: $(READY)
	$(BIN)/python -m cli.options_page > docs/options.new && mv docs/options.new docs/options.md

completion: $(TOOLS)
	mkdir -p completions
	for shell in bash zsh; do $(BIN)/python -m cli.completion $$shell > completions/$$shell.new && \
		mv completions/$$shell.new completions/$$shell; done

$(READY): requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -r requirements.txt
	touch $@

$(TOOLS): requirements-dev.txt $(READY)
	$(INSTALL) -r requirements.txt -r requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache
