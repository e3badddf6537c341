# Everything runs in .venv, made by the first target that needs it.
#   make train                                      the sandbox: data, training, evaluation, report
#   make train CONFIG=my.yaml ARGS="seed=1 steps=500"

CONFIG ?= experiments/configs/sandbox.yaml
ARGS ?=
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Two test processes of one thread each fit the smallest machine this is meant for.
TEST_PROCESSES ?= 2

.PHONY: setup train test coverage test-lowest lint docs bench study study-baselines

setup: $(STAMP)

# Made anew whenever what is to be installed changes. The stamp comes last: a broken install is tried again.
$(STAMP): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, $(PYTHON) is " + sys.version.split()[0] + "; give another: make setup PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[test,lint]"
	@touch $@

train: $(STAMP)
	$(BIN)/dreamprm train $(CONFIG) $(ARGS)

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(TEST_PROCESSES) --dist loadgroup $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .ci src tests $(wildcard experiments)
	$(BIN)/ruff format --check .ci src tests $(wildcard experiments)
	$(BIN)/python -m mypy

# Lines of src that no test runs, the processes that tests start included.
$(VENV)/.installed-coverage: $(STAMP)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[coverage]"
	@touch $@

coverage: $(VENV)/.installed-coverage
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(TEST_PROCESSES) --dist loadgroup --cov --cov-report=term $(ARGS)

# The lowest versions that setup.cfg allows, but for torch: that one fits the machine.
LOWEST := .venv-lowest

$(LOWEST)/.installed: $(STAMP) setup.cfg .ci/lowest_environment.py
	$(BIN)/python .ci/lowest_environment.py $(LOWEST) \
		torch==$$($(BIN)/python -c 'from importlib.metadata import version; print(version("torch"))')
	@touch $@

test-lowest: $(LOWEST)/.installed
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -q -n $(TEST_PROCESSES) --dist loadgroup $(ARGS)

# The site's own packages come on top when they are first asked for: `make train` and `make test` need none of them.
$(VENV)/.installed-docs: $(STAMP)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[docs]"
	@touch $@

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "site/index.html; to search in it, serve it: $(BIN)/python -m http.server -d site"

bench: $(STAMP)
	$(BIN)/python -m experiments.benchmarks.windows $(ARGS)

study: $(STAMP)
	$(BIN)/python experiments/study_sandbox.py $(ARGS)

study-baselines: $(STAMP)
	$(BIN)/python experiments/study_baselines.py $(ARGS)
