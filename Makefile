# Everything here sets up what it needs first (scripts/setup), in .venv.
PY := .venv/bin/python
ARGS ?=

.PHONY: help demo test check format lint types unit bench docs lock clean

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

demo:  ## a private lab with real NAT, shown and explained (no root needed)
	@scripts/setup run
	@scripts/setup programs demo
	@$(PY) -m natscope demo $(ARGS)

test:  ## all tests, those against the real kernel too
	@scripts/setup dev
	@scripts/setup programs test
	@$(if $(ARGS),scripts/pytest $(ARGS),scripts/test)

check: lint types unit  ## format, lint, types, unit and property tests

format:  ## rewrite the code in the house format
	@scripts/setup dev
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

lint:  ## format and lint, nothing rewritten
	@scripts/setup dev
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .

types:  ## mypy, strict
	@scripts/setup dev
	$(PY) -m mypy

unit:  ## tests that need no kernel
	@scripts/setup dev
	$(PY) -m pytest -q tests/unit tests/property $(ARGS)

bench:  ## speed and memory against the peers, on this machine
	@scripts/setup run
	@scripts/setup bench
	@scripts/setup programs test
	@$(PY) -m bench $(ARGS)

docs:  ## rewrite the generated pages under docs/
	@scripts/setup run
	$(PY) scripts/reference.py
	$(PY) scripts/manpages.py

lock:  ## resolve pyproject.toml again into requirements/ (needs uv)
	scripts/lock

clean:  ## remove .venv and every cache
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
