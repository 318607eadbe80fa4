# Every target sets up what it needs: Python >= 3.11 with venv, git and make are all it asks for.
PYTHON ?= python3
VENV := .venv
UV := $(VENV)/bin/uv
RUN := $(UV) run --frozen --no-sync
READY := $(VENV)/.ready

# Trust the certificates this machine trusts, so that a company's own proxy works.
export UV_SYSTEM_CERTS ?= 1
export UV_NATIVE_TLS ?= 1

.PHONY: help demo test test-agents contract agents check bench fmt stress docs clean

help:
	@echo "make demo    three agents work in parallel on a small repository and land their work"
	@echo "make test    every test"
	@echo "make test-agents  the contract over every real agent there is, heavy ones too"
	@echo "make contract     the same, and write docs/reference/contract.md"
	@echo "make check   format, lint, types, arrows, docs"
	@echo "make bench   measure, side by side with peers"
	@echo "make fmt     repair what a machine can repair"
	@echo "make docs    write the generated reference again"

$(READY): pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) --version 2>&1)" >&2; \
	    echo "hint: name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@test -x $(UV) || $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check uv
	@VIRTUAL_ENV= $(UV) sync --frozen --quiet --inexact --python $(VENV)/bin/python
	@touch $@

demo: $(READY)
	@$(VENV)/bin/python examples/demo.py

test: $(READY)
	@$(RUN) pytest -n $${TEST_JOBS:-logical} --dist worksteal

# Fetched before the tests, in one place, and not by whichever test comes first. What cannot be had
# is said here and again in red at the end of the run.
agents: $(READY)
	@$(VENV)/bin/python -m bullpen.testing.install || true

test-agents: agents
	@BULLPEN_CONTRACT=all $(RUN) pytest tests/contract -n $${TEST_JOBS:-logical} --dist worksteal

contract: agents
	@BULLPEN_CONTRACT=all BULLPEN_CONTRACT_PAGE=$(CURDIR)/docs/reference/contract.md \
	  $(RUN) pytest tests/contract -n $${TEST_JOBS:-logical} --dist worksteal

check: $(READY)
	@$(RUN) ruff format --check .
	@$(RUN) ruff check .
	@$(RUN) pyright
	@$(RUN) lint-imports
	@$(RUN) python docs/generate.py --check

bench: $(READY)
	@$(VENV)/bin/python bench/run.py

fmt: $(READY)
	@$(RUN) ruff format .
	@$(RUN) ruff check --fix .

docs: $(READY)
	@$(RUN) python docs/generate.py

# Runs the process and session tests again and again, to shake out races.
stress: $(READY)
	@for i in $$(seq $${TIMES:-20}); do $(RUN) pytest -q tests/process tests/sessions || exit 1; done

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .demo .bench
