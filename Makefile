# make demo      sets everything up and shows the first two outages
# make test      sets everything up and runs the tests that hold every promise: four minutes
# make test-all  those, and then the slow ones: notebooks, browsers, exercises, whole outages
# make soak      the long tests; make check the linters; make clean
# make bench     the lab beside its peers and limits, in ratios; make bench ONLY="bus hop" these rows
# make matrix    the tests on each Python that is promised and found here, and with the oldest
#                dependencies; make smoke one run from the wheel on each of them
# make docs      docs/scenarios.md from the scenario files, its tables as they are; make docs ONLY=all
#                runs every scenario for them (ten minutes), make docs ONLY="calm web" these two
# make notebooks notebooks/*.ipynb from their texts, without outputs
# make pins      constraints*.txt from pyproject.toml (needs uv)

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

# Files are shared out among four workers on two cores, because most tests wait for something. A test
# that hangs fails after four minutes, or its process ends after six and names it.
PYTEST := $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder --max-worker-restart 2 \
	--durations 12 -o faulthandler_timeout=360 -o faulthandler_exit_on_timeout=true

RUNS   := $(VENV)/runs
READY  := $(VENV)/ready
FUZZER := $(VENV)/fuzzer/ready

.PHONY: demo test test-slow test-all soak bench check matrix smoke docs notebooks pins clean

demo: $(RUNS)
	@$(BIN)/lab run slow-service downed-service; code=$$?; \
	[ $$code != 3 ] || echo "All is set up, and something else kept this machine busy. Once more: make demo"; \
	echo "Then: . $(BIN)/activate   and: lab start"; \
	[ $$code = 0 ] || [ $$code = 1 ] || [ $$code = 3 ]

test: $(READY)
	@$(PYTEST)

test-slow: $(READY) $(FUZZER)
	@$(PYTEST) -m "slow and not soak"

test-all: test test-slow

soak: $(READY) $(FUZZER)
	@$(BIN)/python -m pytest -m soak

matrix: $(READY)
	@$(BIN)/nox --session tests oldest

smoke: $(READY)
	@$(BIN)/nox --session smoke

bench: $(READY)
	@$(BIN)/python -m tests.bench $(ONLY)

docs: $(READY)
	@$(BIN)/python -m tests.docs.write_scenarios $(ONLY)

notebooks: $(READY)
	@$(BIN)/python -m tests.docs.write_notebooks

check: $(READY)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

pins:
	@uv pip compile --universal --python-version 3.11 --extra test --extra build --generate-hashes \
		--no-annotate --no-header --quiet -o constraints.txt pyproject.toml
	@uv pip compile --universal --python-version 3.11 --extra build --generate-hashes --no-annotate \
		--no-header --quiet -c constraints.txt -o constraints-run.txt pyproject.toml
	@echo 'schemathesis>=4.32' | uv pip compile --universal --python-version 3.11 --generate-hashes \
		--no-annotate --no-header --quiet -o constraints-fuzzer.txt -

clean:
	rm -rf $(VENV) .nox dist build .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Exact versions with their hashes; the package itself goes in without asking for anything more.
# A run needs a third of what the tests need, so `make demo` installs only that.
$(RUNS): pyproject.toml constraints-run.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is older than Python 3.11. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@echo "Setting up $(VENV) (once; some seconds) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) --require-hashes -r constraints-run.txt
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $(RUNS)

$(READY): $(RUNS) constraints.txt
	@echo "Adding what the tests need (once; half a minute) ..."
	@$(PIP) --require-hashes -r constraints.txt
	@touch $(READY)

# The fuzzer needs thirty packages, and none of them should be able to change the tests.
$(FUZZER): $(READY) constraints-fuzzer.txt
	@echo "Adding the fuzzer (once; some seconds) ..."
	@$(PYTHON) -m venv --clear $(VENV)/fuzzer
	@$(VENV)/fuzzer/bin/python -m pip install --quiet --disable-pip-version-check \
		--require-hashes -r constraints-fuzzer.txt
	@touch $(FUZZER)
