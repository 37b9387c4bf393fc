# make demo   raw flights to a scored model          make test   the whole proof
# make lint   style and types                        make bench  speed beside the peers, for hours
# make soak   fits on a cluster that is hurt at random, for MINUTES=10
# make fuzz   any bytes to every reader, for about half an hour (FUZZ=n: n times the examples of `make test`)
# Each sets up its environment in this checkout by itself; run any of them twice.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OPENBLAS_NUM_THREADS = 1

.PHONY: demo test lint bench soak fuzz clean
demo: $(VENV)/ready
	$(BIN)/blockdot run jobs/flights.toml

test: $(VENV)/ready
	$(BIN)/python -m pytest

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

MINUTES ?= 10
soak: $(VENV)/ready
	$(BIN)/python tests/faults/soak.py $(MINUTES)

# Every index of the compiled loops is checked; that needs a cache of its own.
FUZZ ?= 100
fuzz: $(VENV)/ready
	BLOCKDOT_FUZZ=$(FUZZ) NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=$(VENV)/fuzz \
	  $(BIN)/python -m pytest tests/faults/test_fuzz.py tests/faults/test_hostile_*.py

bench: .venv-bench/ready
	.venv-bench/bin/python -m benchmarks

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade --constraint constraints.txt pip setuptools
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

.venv-bench/ready: pyproject.toml constraints.txt benchmarks/requirements.txt benchmarks/requirements-spark.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --upgrade --constraint constraints.txt pip setuptools
	.venv-bench/bin/python -m pip install --quiet --constraint constraints.txt --editable .
	.venv-bench/bin/python -m pip install --quiet --constraint constraints.txt -r benchmarks/requirements.txt
	if command -v java > /dev/null; then \
	  .venv-bench/bin/python -m pip install --quiet -r benchmarks/requirements-spark.txt; fi
	touch $@

clean:
	rm -rf $(VENV) .venv-bench runs
