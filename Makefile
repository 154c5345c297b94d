# Everything runs in .venv, made from requirements.lock; only Python 3.11+ and make are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9

.DEFAULT_GOAL := help
.PHONY: help setup lock check test demo up bench simulate chaos clean

help: ## Show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Makegood needs Python 3.11 or later; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

setup: $(VENV)/.ready ## Make the virtual environment from the locked dependencies

lock: ## Resolve the dependencies anew into requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --generate-hashes \
		--no-emit-index-url --no-header pyproject.toml -o requirements.lock

check: setup ## Lint, format check, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/basedpyright

# One more than cores: many tests wait for a process to start or to end.
WORKERS ?= 3
test: check ## All checks and tests, on real Kafka and PostgreSQL
	$(BIN)/pytest -n $(WORKERS) --dist worksteal

demo: setup ## Start the whole bank, run 5,000 transfers with failures and a crash, audit it
	$(BIN)/makegood demo

up: setup ## Start the whole bank and keep it running
	$(BIN)/makegood up

bench: setup ## Measure against DBOS and bare aiokafka; writes benchmarks/results/latest.json
	$(BIN)/python -m benchmarks.run

simulate: setup ## Simulate 100,000 days of the bank with faults of every kind
	$(BIN)/makegood simulate --runs 100000

MINUTES ?= 30
chaos: setup ## Attack the bank on three real brokers for half an hour (MINUTES=3: three minutes)
	$(BIN)/python -m chaos --minutes $(MINUTES)

clean: ## Remove the virtual environment and all local data
	rm -rf $(VENV) .makegood
