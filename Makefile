# Every target needs nothing but Python 3.11+ and make; the environment is made in .venv.
# The tests bring Kafka (Java, Maven) and Redis where they can, and say in red where they cannot.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNS := $(VENV)/.runs
TESTS := $(VENV)/.tests
RUN ?= run
KAFKA_TESTS := tests/integration/test_log_contract.py tests/integration/test_kafka_faults.py
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Python keeps the bytecode of what it imports, also where the environment says not to: without it
# every process compiles its imports anew, which costs more than all the rest of its start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run test kernels test-kafka chaos kafka redis-server chromium lint type bench load clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

$(RUNS): pyproject.toml constraints.txt setup.sh
	@./setup.sh "$(PYTHON)" . "what running needs (0.9 GB)" && touch $@

$(TESTS): $(RUNS)
	@./setup.sh "$(PYTHON)" '.[test]' "what the tests need besides (0.3 GB)" && touch $@

run: $(RUNS) ## The whole loop on a simulated market: serve, learn, a drift, its report in run/demo
	@$(VENV)/bin/python -m clicktide demo --dir "$(RUN)/demo"

test: $(TESTS) kafka redis-server chromium ## Lint, types, import rooms, and all tests, against real servers
	@echo "kernels, lint and types: a minute or two the first time; then the tests, some 10 minutes on two cores"
	@$(MAKE) --no-print-directory -j 2 kernels lint type
	@$(BIN)/python -m pytest -n 3 --dist worksteal && echo "the tests took $$((SECONDS / 60)) min $$((SECONDS % 60)) s"

kernels: $(TESTS)
	@$(BIN)/python tests/helpers/kernels.py

test-kafka: $(TESTS) kafka ## The event log on real Kafka brokers: its contract, and faults
	@CLICKTIDE_REQUIRE_KAFKA=1 $(VENV)/bin/python -m pytest -n 2 --dist worksteal $(KAFKA_TESTS)

kafka: $(TESTS) ## Fetch the Kafka broker that tests run against (Java 17+ and Maven)
	@tests/servers.sh kafka "$(CURDIR)/$(VENV)/bin/python"

redis-server: ## Have Debian's Redis for the tests, where apt can
	@tests/servers.sh redis

chromium: ## Have Debian's Chromium for the tests of pages, where apt can
	@tests/servers.sh chromium

chaos: $(TESTS) kafka ## Kill processes 60 times on each log; then all must be as in a calm run
	@$(BIN)/python tests/chaos/chaos.py --kills 60
	@$(BIN)/python tests/chaos/chaos.py --kills 60 --kafka start

lint: $(TESTS) ## Style (ruff) and the import contract of the rooms
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/lint-imports
	@$(VENV)/bin/python tests/helpers/private_names.py

type: $(TESTS) ## Types (mypy, strict)
	@$(VENV)/bin/mypy

bench: $(TESTS) ## Measure against River and Vowpal Wabbit on the same rows
	@./setup.sh "$(PYTHON)" '.[bench]' "Vowpal Wabbit"
	@$(VENV)/bin/python benchmarks/bench.py --write

load: $(TESTS) ## Serving under load, beside an empty FastAPI endpoint and mlflow models serve
	@tests/servers.sh wrk
	@$(VENV)/bin/python -m benchmarks.load --write

clean: ## Remove the environment, caches and what run made
	rm -rf $(VENV) "$(RUN)" .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
