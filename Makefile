# Everything runs in .venv, made by the first target that needs it.
#   make train                                      the sandbox: data, training, evaluation, report
#   make train ARGS="seed=1 steps=500"              the same with other settings; ARGS=--dry-run prints its commands
#   make train CONFIG=my.yaml ARGS="seed=1"         dreamprm train my.yaml seed=1

CONFIG ?=
ARGS ?=
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TOOLS := $(VENV)/.installed-tools
# Two test processes of one thread each fit the smallest machine that this is meant for.
TEST_PROCESSES ?= 2

.PHONY: setup train test fuzz coverage test-lowest lint docs bench study study-baselines

setup: $(TOOLS)

# pip would compile every module of every package, most of which are never imported: two thirds of the time it takes.
# Python compiles what it imports, once, if it may.
unexport PYTHONDONTWRITEBYTECODE

# A pip that was killed may leave packages that no later one can read: where UNFINISHED still stands, the environment
# is made anew. One that failed by itself (no network) leaves what was there.
UNFINISHED := $(VENV)/.unfinished
TEST_EXTRAS := [test,lint]
define install
@touch $(UNFINISHED)
trap 'exit 130' INT TERM; $(BIN)/python -m pip install --quiet --no-compile -c constraints.txt -e "$(1)" \
  || { status=$$?; [ $$status -gt 128 ] || rm $(UNFINISHED); exit $$status; }
@rm $(UNFINISHED)
@touch $@
endef

# Installed again whenever the requirements change. The stamp comes last, so that a failed install is repeated.
$(STAMP): setup.cfg pyproject.toml constraints.txt $(wildcard $(UNFINISHED))
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, $(PYTHON) is " + sys.version.split()[0] + "; give another: make setup PYTHON=...")'
	$(PYTHON) -m venv $(if $(wildcard $(UNFINISHED)),--clear) $(VENV)
	$(call install,.)

# What tests and lint need comes on top when it is first asked for: `make train` needs none of it.
$(TOOLS): $(STAMP)
	$(call install,.$(TEST_EXTRAS))

train: $(STAMP)
	$(if $(CONFIG),$(BIN)/dreamprm train $(CONFIG),$(BIN)/python experiments/sandbox_chain.py) $(ARGS)

test: $(TOOLS)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(TEST_PROCESSES) --dist loadgroup $(ARGS)

# Random input for every reader, converter, journal, configuration, splitter, checker and image path: other cases
# in each run. ARGS="-k reader" for some of the targets, ARGS=--cases=1000 for fewer cases of each.
fuzz: $(TOOLS)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(TEST_PROCESSES) --dist load tests/fuzz --cases=10000 $(ARGS)

lint: $(TOOLS)
	$(BIN)/ruff check .ci src tests docs $(wildcard experiments)
	$(BIN)/ruff format --check .ci src tests docs $(wildcard experiments)
	$(BIN)/lint-imports
	$(BIN)/python -m mypy

# Lines of src that no test runs, counting the processes that tests start.
$(VENV)/.installed-coverage: $(TOOLS)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[coverage]"
	@touch $@

coverage: $(VENV)/.installed-coverage
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(TEST_PROCESSES) --dist loadgroup --cov --cov-report=term $(ARGS)

# The lowest versions that setup.cfg allows, except torch, whose build has to fit the machine.
LOWEST := .venv-lowest

$(LOWEST)/.installed: $(TOOLS) setup.cfg .ci/lowest_environment.py
	$(BIN)/python .ci/lowest_environment.py $(LOWEST) \
		torch==$$($(BIN)/python -c 'from importlib.metadata import version; print(version("torch"))')
	@touch $@

test-lowest: $(LOWEST)/.installed
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -q -n $(TEST_PROCESSES) --dist loadgroup $(ARGS)

# The site's own packages are installed when they are first needed: `make train` and `make test` do without.
$(VENV)/.installed-docs: $(STAMP)
	$(call install,.[docs])

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "site/index.html; to search in it, serve it: $(BIN)/python -m http.server -d site"

bench: $(STAMP)
	$(BIN)/python -m experiments.benchmarks.windows $(ARGS)

study: $(STAMP)
	$(BIN)/python experiments/study_sandbox.py $(ARGS)

study-baselines: $(STAMP)
	$(BIN)/python experiments/study_baselines.py $(ARGS)
