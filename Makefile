# make demo    sets everything up and shows the first two outages
# make test    sets everything up and runs the tests, two files at a time
#              (nothing there takes two minutes: what hangs fails after four, or ends its process)
# make soak    the long tests; make bench the figures; make check the linters; make clean
# make docs    docs/scenarios.md from the scenario files, its tables as they are; make docs ONLY=all
#              runs every scenario for them (ten minutes), make docs ONLY="calm web" these two
# make notebooks  notebooks/*.ipynb from their texts beside them, without outputs

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/ready

.PHONY: demo test soak bench check docs notebooks clean

demo: $(READY)
	@$(BIN)/lab run slow-service downed-service || { [ $$? = 3 ] && echo "All is set up, and \
	something else kept this machine busy. Once more: $(BIN)/lab run slow-service downed-service"; }

test: $(READY)
	@$(BIN)/python -m pytest -n 2 --durations 12 --dist loadfile --no-loadscope-reorder --max-worker-restart 2 \
		-o faulthandler_timeout=360 -o faulthandler_exit_on_timeout=true

soak: $(READY)
	@$(BIN)/python -m pytest -m soak

bench: $(READY)
	@$(BIN)/python -m tests.bench

docs: $(READY)
	@$(BIN)/python -m tests.docs.write_scenarios $(ONLY)

notebooks: $(READY)
	@$(BIN)/python -m tests.docs.write_notebooks

check: $(READY)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

clean:
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Exact versions with their hashes; the package itself goes in without asking for anything more.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is older than Python 3.11. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@echo "Setting up $(VENV) (once; some seconds) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r constraints.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)
