# Every target sets up .venv by itself. Type `make help`.
PYTHON ?= python3
# Arguments for pip, e.g. PIP_ARGS="--index-url https://…" for another build of torch.
PIP_ARGS ?=
ARGS ?=
# Processes that share the tests; 0: all in one, where a debugger can stop.
WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
CODE := envs policies algorithms curriculum rllib_configs evaluation tune serve cluster benchmarks examples tests entrepot.py

# One thread a process: two busy cores shared by two OpenMP pools are ten times slower.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup data train sweep serve test test-slow test-cluster test-tools coverage lint format bench bench-peers clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python: got $$($(PYTHON) --version), allowed is 3.11 or later (make PYTHON=python3.12 …)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# What pip installs is compiled afterwards, on all cores; a few files of libraries are not meant to be.
define install
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile $(PIP_ARGS) $(1)
endef
define compile
	$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
endef

# torch goes first, with pip, so that nothing else chooses its build.
$(VENV)/.run: requirements.txt pyproject.toml | $(VENV)/.python
	$(call install,"$$(grep '^torch==' requirements.txt)")
	$(call install,-r requirements.txt)
	$(call install,--no-deps --editable .)
	$(compile)
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.run
	$(call install,-r requirements-dev.txt)
	$(compile)
	@touch $@

setup: $(VENV)/.run ## Set up .venv and do nothing else

train: $(VENV)/.run ## Train a team of traders through the curriculum (minutes, on two cores)
	$(BIN)/entrepot train trading $(ARGS)

sweep: $(VENV)/.run ## Sweep hyperparameters of the trading team
	$(BIN)/entrepot sweep trading --samples 8 $(ARGS)

serve: $(VENV)/.run ## Serve the registered champion over HTTP, with a page to try it on
	$(BIN)/entrepot serve $(ARGS)

data: $(VENV)/.run ## Fetch real demand (32 MB, what households bought in 2017) and real workloads (20 MB, three data centres)
	$(BIN)/python -m envs.synthetic.groceries
	$(BIN)/python -m envs.synthetic.traces

test: $(VENV)/.dev test-tools ## Run the tests, but for the slow ones
	$(BIN)/pytest -n $(WORKERS) -m "not slow" $(ARGS)

test-slow: $(VENV)/.dev test-tools ## Run the tests with a whole service, a browser, Prometheus, clusters, and what is killed
	$(BIN)/pytest -n $(WORKERS) -m slow $(ARGS)

coverage: $(VENV)/.dev test-tools ## Run both, and show which lines and branches they leave out
	$(BIN)/pytest -n $(WORKERS) --cov --cov-report=term-missing:skip-covered $(ARGS)

test-cluster: $(VENV)/.dev test-tools ## Run a cluster of three real nodes on this machine: launch, faults, TLS (root)
	@cluster/testbed/lab.sh $(BIN)/pytest tests/cluster/e2e $(ARGS)

test-tools: ## Install the programs that tests drive (chromium, nginx, openssl, nftables, h2load, prometheus, sshd, …)
	@tests/tools.sh

lint: $(VENV)/.dev ## Check style, types and the direction of imports
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## Rewrite the code in the house's style
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

# The other libraries of the training benchmark live apart: their pins are not ours.
.venv-bench/.peers: benchmarks/requirements-peers.txt | $(VENV)/.python
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install --quiet --disable-pip-version-check $(PIP_ARGS) "$$(grep '^torch==' requirements.txt)"
	.venv-bench/bin/pip install --quiet --disable-pip-version-check $(PIP_ARGS) -r benchmarks/requirements-peers.txt
	@touch $@

bench-peers: .venv-bench/.peers ## Install what the training benchmark compares with, in .venv-bench

bench: $(VENV)/.run bench-peers test-tools ## Run all benchmarks (what faults cost: as root only) and write their results
	for name in signal sampling training scaling agreement leaving serial learning team serving overload \
		$$([ "$$(id -u)" -ne 0 ] || echo faults); do \
		$(BIN)/entrepot bench $$name --json benchmarks/results/$$name.json || exit 1; \
	done

clean: ## Remove what the targets made, except results
	rm -rf $(VENV) .venv-bench .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .coverage *.egg-info
