# Everything a newcomer needs is `make run` and `make test`. The rest is for people who change the code.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

.PHONY: help run test test-fast coverage soak detection check lint types contracts hooks lock bench clean

help: ## List these commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 14

run: $(VENV)/installed ## Start everything on this machine and print verdicts
	@exec $(BIN)/kubeprobe up

test: $(VENV)/installed ## Every tier of tests; as root on Debian it installs what they need
	@$(BIN)/python -m tests.tiers

test-fast: $(VENV)/installed ## The unit tier only
	@$(BIN)/python -m pytest tests/unit tests/probes probes -m unit -q -n 2

coverage: $(VENV)/installed ## The unit tier, and which lines of kubeprobe it does not reach
	@$(BIN)/python -m pytest tests/unit tests/probes probes -m unit -q -n 2 --cov=kubeprobe --cov-report=term-missing:skip-covered

soak: $(VENV)/installed ## The tests that take minutes
	@$(BIN)/python -m tests.tiers --soak

detection: $(VENV)/installed ## Every fault with every probe, as far as not seen yet (hours; needs root and Go)
	@$(BIN)/python -m benchmarks detection --output markdown

check: lint types contracts test ## What has to be green before a change is done

lint: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/installed
	$(BIN)/mypy

contracts: $(VENV)/installed
	$(BIN)/lint-imports

hooks: $(VENV)/installed ## Run lint, types, contracts and unit tests before each commit
	$(BIN)/pre-commit install

lock: ## Pin every dependency anew, with hashes and no download address
	uv pip compile pyproject.toml --all-extras --group dev --generate-hashes --no-emit-index-url --python-version 3.11 \
		--upgrade --output-file requirements.lock

bench: $(VENV)/installed ## The tables of docs/benchmarks.md (needs root and the test bed)
	@$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .test-results .coverage

# Hash-checked wheels only, then this folder itself, editable.
$(VENV)/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -q kubeprobe workers probes clients/python beat_schedule.py  # or each process does it
	@touch $@
