# What a contributor does, by name. Needs Python 3.11 or newer, git and make.
#
#   make PYTHON=/path/to/python3.12 test    names the Python that builds .venv
#   make WORKERS=8 test                     tests that run side by side
#   make PYTEST_ARGS=--durations=10 test    passes options on to pytest
#   make BENCH_ARGS=--quick bench           the same for the measurements; see --help

PYTHON ?=
WORKERS ?= 2
PYTEST_ARGS ?=
BENCH_ARGS ?=

VENV := .venv
PY := $(VENV)/bin/python
PIP_INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check
PYTEST := $(PY) -m pytest --cov --cov-report= $(PYTEST_ARGS)

LAB := labextension-stub
LAB_SOURCES := $(addprefix $(LAB)/,install.json package.json tsconfig.json yarn.lock) \
  $(shell find $(LAB)/schema $(LAB)/src $(LAB)/style -type f)
# An editable install copies these files and the front end that is built from its sources;
# everything else is read from the tree.
INSTALLED_FROM := pyproject.toml $(wildcard jupyter-config/*/*.json) $(LAB_SOURCES)
DEMO := $(VENV)/.installed-demo
DEV := $(VENV)/.installed-dev
# What is measured against is kept out of the environment of the tests.
VENV_BENCH := .venv-bench
BENCH := $(VENV_BENCH)/.installed

lab: export PATH := $(abspath $(VENV))/bin:$(PATH)

.DEFAULT_GOAL := help
# The checks stop at the first that fails, also under -j.
.NOTPARALLEL:
.PHONY: help demo test lint types layers docs docs-check lab pytest e2e screenshots bench format clean

help:  ## List these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(DEMO)  ## Run the example notebook through a real Jupyter Server
	$(VENV)/bin/jupyter-exec run examples/penguins.ipynb -i SPECIES=Adelie -i MIN_MASS=3500 -o mean_mass -o table --save-to out.ipynb

test: lint types layers docs-check lab pytest  ## Run every check but e2e
	@printf '\nAll checks passed.\n'

lint: $(DEV)  ## Check style and format
	@printf '\n=== Lint and format\n'
	$(PY) -m ruff check
	$(PY) -m ruff format --check

types: $(DEV)  ## Check types
	@printf '\n=== Types\n'
	$(PY) -m mypy

layers: $(DEV)  ## Check that imports only point down
	@printf '\n=== Layers\n'
	$(VENV)/bin/lint-imports

docs-check: $(DEV)  ## Check that docs/api.md is what the code says
	@printf '\n=== API reference\n'
	$(PY) -m jupyter_exec_ext.api.reference --check docs/api.md

lab: $(DEV)  ## Check style and types of the JupyterLab front end, and run its unit tests
	@printf '\n=== Front end\n'
	$(PY) -m jupyter_exec_ext.api.reference --openapi $(LAB)/openapi.json
	@cd $(LAB) && jlpm install --immutable >../$(VENV)/jlpm.log || { cat ../$(VENV)/jlpm.log; exit 1; }
	cd $(LAB) && jlpm lint && jlpm test

# Exit code 5 means that nothing is marked serial (or PYTEST_ARGS chose nothing there).
pytest: $(DEV)  ## Run the tests, with coverage
	@printf '\n=== Tests\n'
	@$(PY) -m coverage erase
	$(PYTEST) -n $(WORKERS) --dist worksteal -m "not serial"
	@printf '\n=== Tests that measure, one at a time\n'
	$(PYTEST) --cov-append -m serial || [ $$? -eq 5 ]
	@printf '\n=== Coverage\n'
	$(PY) -m coverage report --fail-under=90

# In a process of its own: the event loop of Playwright keeps running, and asynchronous tests need one
# that does not.
e2e: $(DEV)  ## Run the tests of the front end in JupyterLab and Chromium
	@printf '\n=== Front end in JupyterLab\n'
	$(PY) -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS) $(LAB)/e2e

screenshots: $(DEV)  ## Write the pictures of the documentation, docs/images
	$(PY) -m pytest --quiet $(LAB)/e2e/screenshots.py

bench: $(BENCH)  ## Measure the speed beside what does the same without the service
	$(VENV_BENCH)/bin/python -m bench $(BENCH_ARGS)

docs: $(DEV)  ## Write docs/api.md anew
	$(PY) -m jupyter_exec_ext.api.reference docs/api.md

format: $(DEV)  ## Repair style and format
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

clean:  ## Remove the virtual environment and all that was generated
	rm -rf $(VENV) $(VENV_BENCH) jupyter_exec_ext/labextension $(addprefix $(LAB)/,lib node_modules openapi.json)
	rm -rf build dist out.ipynb .coverage .coverage.* htmlcov
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A candidate has to run: a version manager's shim for a Python that is not there does not.
# A virtual environment whose Python was removed is built anew.
$(PY):
	@found=; why=; \
	for python in $(if $(PYTHON),"$(PYTHON)",python3 python3.14 python3.13 python3.12 python3.11 python); do \
	  version=$$("$$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null) || continue; \
	  if ! "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
	    why="$$why $$python is $$version;"; \
	  elif ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	    why="$$why $$python ($$version) has no venv (Debian, Ubuntu: sudo apt-get install python3-venv);"; \
	  else found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "Python 3.11 or newer, with venv, is needed:$${why:- none was found;}" \
	    "name one with: make PYTHON=/path/to/python3.12 ..." >&2; \
	  exit 1; \
	fi; \
	echo "Building $(VENV) with Python $$version ..."; \
	"$$found" -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }

# The demo's packages are among the development ones, so either stamp tells of them.
$(DEMO): $(INSTALLED_FROM) | $(PY)
	@echo "Installing jupyter_exec_ext and what the demo needs, and building the JupyterLab front end"
	@echo "(two minutes the first time, half a minute after a change) ..."
	@$(PIP_INSTALL) --editable '.[demo]'
	@touch $@

$(DEV): $(INSTALLED_FROM) | $(PY)
	@echo "Installing jupyter_exec_ext and its development tools, and building the JupyterLab front end"
	@echo "(two minutes the first time, half a minute after a change) ..."
	@$(PIP_INSTALL) --editable '.[dev]'
	@touch $(DEMO) $@

$(BENCH): $(INSTALLED_FROM) | $(PY)
	@echo "Installing what the service is measured against (a minute the first time) ..."
	@$(PY) -m venv $(VENV_BENCH)
	@$(VENV_BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@
