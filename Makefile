# To try KubeProbe: `make run` and `make test`. The other targets are for developers.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

.PHONY: help run test test-fast coverage soak detection check lint types contracts hooks lock bench clean

help: ## List these commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 14

run: $(VENV)/installed ## Start everything on this machine and print verdicts
	@exec $(BIN)/kubeprobe up

test: $(VENV)/installed ## Run every tier of tests; as root on Debian, install what they need
	@$(BIN)/python -m tests.tiers

test-fast: $(VENV)/installed ## Run the unit tier only
	@$(BIN)/python -m pytest tests/unit tests/probes probes -m unit -q -n 2

coverage: $(VENV)/installed ## Run the unit tier and list the lines of kubeprobe that it does not reach
	@$(BIN)/python -m pytest tests/unit tests/probes probes -m unit -q -n 2 --cov=kubeprobe --cov-report=term-missing:skip-covered

soak: $(VENV)/installed ## Run the tests that take minutes
	@$(BIN)/python -m tests.tiers --soak

detection: $(VENV)/installed ## Run every probe with every fault that is not recorded yet (hours; needs root and Go)
	@$(BIN)/python -m benchmarks detection --output markdown

check: lint types contracts test ## Run lint, types, contracts and tests; must pass before a change is merged

lint: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/installed
	$(BIN)/mypy

contracts: $(VENV)/installed
	$(BIN)/lint-imports

hooks: $(VENV)/installed ## Run lint, types, contracts and unit tests before each commit
	$(BIN)/pre-commit install

lock: ## Upgrade and pin every dependency, with hashes and without an index URL
	uv pip compile pyproject.toml --all-extras --group dev --universal --generate-hashes --no-emit-index-url --python-version 3.11 \
		--upgrade --output-file requirements.lock

bench: $(VENV)/installed ## Run the benchmarks of docs/benchmarks.md (needs root and the test bed)
	@$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .test-results .coverage

# Hash-checked wheels only, then this folder itself, editable.
$(VENV)/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -q kubeprobe workers probes clients/python beat_schedule.py  # or each process compiles at its start
	@touch $@
