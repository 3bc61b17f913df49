# SPDX-License-Identifier: Apache-2.0
#
# Needs Python 3.10 or newer, make and git; Go for the Collector only. All else is installed into .venv.
#
#   PYTHON=/path/to/python3  the interpreter that .venv is made with
#   ARGS='...'               passed on to `resinstr demo`, nox, the benchmarks or uv

PYTHON ?=
ARGS ?=
BIN := .venv/bin
ENVIRONMENT = @PYTHON='$(PYTHON)' sh tools/environment.sh

# CI proves the Collector's configuration too. Elsewhere its tests run if it is built, or skip and say why.
define with_collector
if [ "$$CI" = true ] && [ -z "$$OTELCOL_BIN" ]; then \
	$(MAKE) --no-print-directory -C collector build >&2 || exit 1; \
	OTELCOL_BIN=$$($(MAKE) --no-print-directory -s -C collector path) || exit 1; \
	export OTELCOL_BIN; \
fi
endef

.PHONY: help demo test check test-all collector bench bench-blocks soak driver-suite python-suite constraints clean

help: ## what can be made (this list)
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-20s %s\n", $$1, $$2 }'

demo: ## reproduce an outage and name its cause: about two minutes
	$(ENVIRONMENT) demo
	@$(BIN)/resinstr demo $(ARGS)

test: check ## the checks, then all tests, with the coverage of the sources
	@$(with_collector); \
	$(BIN)/coverage erase && $(BIN)/coverage run -m pytest
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

check: ## style, types, directions of imports, spelling, docstrings of tests
	$(ENVIRONMENT) dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell
	$(BIN)/interrogate --quiet tests

test-all: ## the tests with the built wheel: each Python, oldest and newest libraries, without pymongo
	$(ENVIRONMENT) dev
	@$(with_collector); $(BIN)/nox $(ARGS)

python-suite: ## CPython's own tests of asyncio and thread pools, with us off and on: ten minutes and more
	$(ENVIRONMENT) dev
	$(BIN)/python tools/python_suite.py $(ARGS)

collector: ## build the Collector (needs Go) and print where it is
	@$(MAKE) --no-print-directory -C collector build

bench: ## what the package costs, beside what people use today
	$(ENVIRONMENT) dev
	$(BIN)/python -m benchmarks $(ARGS)

soak: ## clients of all kinds live and end for three minutes; gauges beside kernel, server and collector
	$(ENVIRONMENT) dev
	@PYTHONPATH=tests $(BIN)/python tests/proof/soak.py $(ARGS)

driver-suite: ## pymongo's own tests with the package off, off and on: hours; ARGS='test_client' for some
	$(ENVIRONMENT) dev
	@$(BIN)/python tools/driver_suite.py $(ARGS)

bench-blocks: ## hold event loops in every way, and check that each is found; or --healthy SECONDS
	$(ENVIRONMENT) dev
	$(BIN)/python -m benchmarks.blocks $(ARGS)

constraints: ## fit constraints.txt to pyproject.toml; with ARGS=--upgrade, take the newest of everything
	$(ENVIRONMENT) uv
	sh tools/constraints.sh $(ARGS)

clean: ## remove everything that was made
	rm -rf .cache .venv .nox build dist htmlcov
	rm -rf .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	$(MAKE) --no-print-directory -C collector clean
