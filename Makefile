# Needs Python 3.10, 3.11 or 3.12 and make; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup demo test test-slow lint tpu-check clean

help:
	@echo "make demo       set up, then pre-train, fine-tune and predict on the bundled data (about 5 minutes)"
	@echo "make test       set up, then run the tests"
	@echo "make test-slow  also the tests that take long"
	@echo "make lint       ruff check and format check"
	@echo "make tpu-check  compile the train steps with the TPU compiler, without a TPU, in .venv-tpu (about an hour)"
	@echo "make setup      only the virtual environment in .venv (PYTHON=python3.11 chooses the interpreter)"

setup: .venv/installed

.venv/installed: requirements/pinned.txt setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info[:2] in ((3, 10), (3, 11), (3, 12)) or sys.exit("Python 3.10, 3.11 or 3.12 is needed and $(PYTHON) is %d.%d: run make with PYTHON=/path/to/python3.11" % sys.version_info[:2])'
	@echo "Setting up .venv: TensorFlow and what else requirements/pinned.txt names (about 600 MB to download, once)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/pinned.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

demo: setup
	@$(BIN)/python examples/demo.py

# Two processes: most tests are too small to keep two cores busy.
test: setup
	@$(BIN)/python -m pytest -n 2 --dist=worksteal

test-slow: setup
	@$(BIN)/python -m pytest -n 2 --dist=worksteal -m "slow or not slow"

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

# TPU_CHECK takes flags of benchmarks/tpu_compile.py: make tpu-check TPU_CHECK=--lengths=128
tpu-check: .venv-tpu/installed
	@.venv-tpu/bin/python -m benchmarks.tpu_compile $(TPU_CHECK)

.venv-tpu/installed: requirements/tpu_compile.txt
	@$(PYTHON) -c 'import sys; sys.version_info[:2] in ((3, 11), (3, 12), (3, 13)) or sys.exit("Python 3.11, 3.12 or 3.13 is needed and $(PYTHON) is %d.%d: run make with PYTHON=/path/to/python3.11" % sys.version_info[:2])'
	@echo "Setting up .venv-tpu: what requirements/tpu_compile.txt names (2.4 GB on the disk, once)"
	@$(PYTHON) -m venv .venv-tpu
	@.venv-tpu/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/tpu_compile.txt
	@touch $@

clean:
	rm -rf .venv .venv-tpu demo_output *.egg-info .pytest_cache .ruff_cache
