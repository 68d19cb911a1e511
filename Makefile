# Two commands do everything on a machine that has Python 3.11+, make and git: `make demo` and `make test`.
# `make up` keeps it running.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo up stack check test test-long test-redshift mutants bench docs lock clean

install: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Headrace needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

demo: install
	$(BIN)/headrace demo

up: install
	$(BIN)/headrace up

stack: install  ## Kafka, S3 and DynamoDB beneath it; needs Java 17 and Maven
	$(BIN)/python -m tests.services.stack

check: install  ## all but the last need nothing but the code; that one compiles the models for Redshift, without one
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/dbt_project/test_redshift_sql.py

test: check
	$(BIN)/pytest -n 2 --dist loadgroup --deselect tests/dbt_project/test_redshift_sql.py

test-long: install  ## hundreds of random interleavings and kills instead of dozens
	HEADRACE_LONG=1 $(BIN)/pytest -n 2 --dist loadgroup tests/proof tests/dbt_project/test_arrivals.py \
		tests/dbt_project/test_funnels_by_clickhouse.py

test-redshift: install  ## the warehouse's contract and the platform on your own cluster: docs/production/redshift.md
	$(BIN)/pytest tests/redshift/on_a_cluster.py

mutants: install  ## plant each known bug and see the suite turn red
	$(BIN)/python -m tests.proof.mutants

bench: install
	$(BIN)/python -m benchmarks

docs: install  ## the models with their lineage and columns, as one page
	HEADRACE_WAREHOUSE_PATH=:memory: $(BIN)/dbt --quiet docs generate --static --empty-catalog --project-dir dbt_project --profiles-dir dbt_project
	@echo "dbt_project/target/static_index.html"

lock:  ## needs uv; the lock names no registry
	uv pip compile --quiet --universal --no-strip-extras --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--group dev pyproject.toml -o requirements.lock

clean:
	rm -rf .venv headrace-data
