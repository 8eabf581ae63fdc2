# The commands of this project; `make` alone lists them.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
CACHE  := .cache
DATA   := $(CACHE)/imu.npz
WHEEL  := seglearn-1.2.5-py3-none-any.whl
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help demo test check bench format setup data smoke-aarch64 clean

help: ## List these commands
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

demo: $(VENV)/.demo $(DATA) ## Train the demo's federation in real processes on this machine
	@$(BIN)/fedtier demo $(ARGS)

test: $(VENV)/.dev $(DATA) ## Run every test; mosquitto's are skipped where it is not installed
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

check: $(VENV)/.dev ## Format, lint, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev $(DATA) ## Measure cost and accuracy; an hour, on an idle machine
	@for name in help_startup step_time held_out_pairs end_to_end accuracy; do \
	  $(BIN)/python -m benchmarks.$$name --out benchmarks/results/$$name.json || exit 1; done

format: $(VENV)/.dev ## Format the code and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

setup: $(VENV)/.dev $(DATA) ## Make the developer's environment, with every extra

data: $(DATA) ## Download and convert the demo's recordings

smoke-aarch64: $(VENV)/.dev ## Install for aarch64, train and make an update there, emulated by qemu; root
	@.ci/smoke-aarch64

clean: ## Remove the environment, the data and every cache
	rm -rf $(VENV) $(CACHE) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "error: $(PYTHON) is not installed. On Debian: apt-get install -y python3 python3-venv"; exit 1; }
	@$(PYTHON) requirements/supported.py
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "error: no virtual environment could be made. On Debian: apt-get install -y python3-venv"; exit 1; }

$(VENV)/.demo: $(VENV)/bin/python requirements/device.txt requirements/demo.txt requirements/build.txt pyproject.toml
	@echo "setting up $(VENV) ..."
	@$(PIP) install --quiet -r requirements/build.txt -r requirements/demo.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.demo requirements/dev.txt requirements/int8.txt
	@echo "setting up $(VENV) for development (torch is about 200 MB) ..."
	@$(PIP) install --quiet -r requirements/dev.txt
	@touch $@

$(DATA): | $(VENV)/.demo
	@echo "downloading the recordings (11 MB) ..."
	@$(PIP) download --quiet --no-deps --dest $(CACHE) seglearn==1.2.5
	@$(BIN)/python -m fedtier.data.prepare_imu $(CACHE)/$(WHEEL) $(DATA)
