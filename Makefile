# Each target but help builds .venv from requirements.lock by itself; Python 3.11 to 3.13, git and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The commands of dvc.yaml call `python`: it has to be this one.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
PORT ?= 5000

.DEFAULT_GOAL := help
.PHONY: help env demo verify prove mend paper results test slowtest postgrestest faults gpu bench benchstudy check format readme ui explore site lock

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(VENV)/.built  ## build the environment, .venv, and nothing else: some minutes, several GB

demo: $(VENV)/.built  ## the whole study in small: scikit-learn's digits, no download, minutes on two cores
	python -m pipeline.apps.mend
	dvc repro report@digits
	@echo "open reports/digits/index.html; compare the runs with: make ui"

verify: $(VENV)/.built  ## compare every number of the demo's tables with the committed ones
	python -m pipeline.apps.verify digits

paper: $(VENV)/.built  ## the large study, on MNIST, SmallNORB and CIFAR10: days on a GPU (docs/speed.md)
	python -m pipeline.apps.mend
	dvc repro report@paper

results: $(VENV)/.built  ## tables, figures, pages and README from what there is, without training; says what is missing
	python -m pipeline.apps.results

prove: $(VENV)/.built  ## keep a model whose code changed but trains the same bytes: make prove RUN=mnist-fc
	python -m pipeline.apps.prove $(RUN)

mend: $(VENV)/.built  ## set aside what a kill left torn of DVC's own files; demo, paper and site do it by themselves
	python -m pipeline.apps.mend

test: $(VENV)/.built  ## the test suite, on every core but at most four, one file at a time on each
	OMP_NUM_THREADS=1 python -m pytest -q -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder -m "not slow and not gpu and not postgres"

slowtest: $(VENV)/.built  ## the tests that kill real processes or compile
	OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1 python -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder -m "slow and not gpu and not postgres"

postgrestest: $(VENV)/.built  ## the tests that start a PostgreSQL server; left out where none is installed
	OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1 python -m pytest -q -n auto --maxprocesses 2 --dist loadfile -m postgres tests/pipeline/searching tests/pipeline/tracking

faults: $(VENV)/.built  ## kill, fill and damage a small study, and see that nothing is lost, a quarter of an hour: reports/faults.csv
	python -m tests.faults

gpu: $(VENV)/.built  ## on a GPU: test and measure most of what is written for it, at most eight minutes: reports/gpu/
	python -m tests.gpu

bench: $(VENV)/.built  ## time and memory of training beside plain formulations, half an hour: leave the machine alone
	python -m tests.benchmarks

benchstudy: $(VENV)/.built  ## time of the demo on two workers beside dvc repro, a quarter of an hour: leave the machine alone
	python -m tests.benchmarks.study_by_workers

check: $(VENV)/.built  ## format, lint and types
	ruff format --check .
	ruff check .
	mypy

format: $(VENV)/.built  ## put the code into the one format
	ruff format .
	ruff check --fix .

readme: $(VENV)/.built  ## put the tables of reports/ into README.md and docs/*.md
	python -m pipeline.apps.readme

ui: $(VENV)/.built  ## serve the tracked runs on http://127.0.0.1:PORT
	@case "$$MLFLOW_TRACKING_URI" in http*) \
	  python -m pipeline.apps.record || echo "showing what MLflow has" >&2; \
	  echo "the runs are on $$MLFLOW_TRACKING_URI" | sed 's,://.*@,://***@,' ;; \
	*) python -c 'import socket; socket.create_server(("127.0.0.1", int("$(PORT)")))' 2>/dev/null || \
	  { echo "error: PORT: $(PORT) is in use, or is not allowed; name another: make ui PORT=..." >&2; exit 2; }; \
	  python -m pipeline.apps.record --address http://127.0.0.1:$(PORT) || echo "showing what MLflow has" >&2; \
	  MLFLOW_BACKEND_STORE_URI="$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}" MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false \
	  mlflow ui --port $(PORT) ;; esac

explore: $(VENV)/.built  ## look into a network on a page of this machine: the best published, or make explore RUN=digits-fc
	python -m pipeline.apps.explore $(RUN)

site: $(VENV)/.built  ## build the page that needs no installation: site/, for any web server
	python -m pipeline.apps.mend
	dvc repro prepare@mnist
	python -m pipeline.apps.site

lock: $(VENV)/.built  ## resolve pyproject.toml into requirements.lock anew
	uv pip compile pyproject.toml --all-extras --group dev --universal --generate-hashes --no-header -q -o requirements.lock

$(VENV)/.built: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null || \
	  { echo "error: PYTHON: got $(PYTHON), expected Python 3.11, 3.12 or 3.13; name one: make env PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { echo "error: $(PYTHON) makes no environment; install its package venv" >&2; exit 2; }
	@echo "building $(VENV): some minutes, several GB" >&2
	@{ $(BIN)/python -m pip install -q --disable-pip-version-check uv && \
	  $(BIN)/uv pip sync -q --compile-bytecode --python $(BIN)/python requirements.lock; } || \
	  { echo "error: not all packages could be installed; is there a network, and room on the disk? then start the same command again" >&2; exit 2; }
	@touch $@
