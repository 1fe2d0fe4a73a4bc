# Everything a developer runs. `make` alone lists the targets.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 14

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed: make PYTHON=…" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

dev: .venv/ready ## serve on http://127.0.0.1:8400 with a private Postgres and Valkey
	$(BIN)/doorward dev

test: .venv/ready ## run the tests, in two processes
	$(BIN)/python -m pytest -n 2 -m "not long"

test-long: .venv/ready ## run everything, with the long races and soaks
	$(BIN)/python -m pytest -n 2 --timeout 3600

check: .venv/ready ## lint, format, types, imports, OpenAPI drift, SQL
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m service openapi | diff -u openapi/openapi.json - \
		|| { echo "openapi/openapi.json is not what the code says: run make openapi"; exit 1; }
	$(BIN)/python -m service errors | diff -u docs/errors.md - \
		|| { echo "docs/errors.md is not what the code says: run make openapi"; exit 1; }
	$(BIN)/python -m service config reference | diff -u docs/settings.md - \
		|| { echo "docs/settings.md is not what the code says: run make openapi"; exit 1; }
	$(BIN)/python -m pytest -q tests/stores/test_queries.py

# Each is written beside its place first: a program that fails must not empty the file.
openapi: .venv/ready ## write what is generated: the OpenAPI document, the error codes, the settings
	$(BIN)/python -m service openapi > openapi/openapi.json.new && mv openapi/openapi.json.new openapi/openapi.json
	$(BIN)/python -m service errors > docs/errors.md.new && mv docs/errors.md.new docs/errors.md
	$(BIN)/python -m service config reference > docs/settings.md.new && mv docs/settings.md.new docs/settings.md

messages: .venv/ready ## bring the languages' files up to the texts of the pages
	$(BIN)/python -m tests.messages

# Extras stay in the names: older pip takes a newer release for `coverage[toml]` than the pin of `coverage`.
lock: ## resolve the dependencies anew (needs uv)
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --no-header \
		--no-strip-extras --generate-hashes --quiet -o requirements.lock

shots: .venv/ready ## take pictures of every page, into shots/
	$(BIN)/python -m tests.load.pictures take shots

clean: ## remove what was made: the environment, the data of `make dev`, caches
	rm -rf .venv .doorward .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: help dev test test-long check openapi messages lock shots clean
