# Everything here sets up what it needs, in its own virtual environment (.venv).
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
INSTALLED_BROWSER := $(VENV)/.installed-browser
CHROMIUM ?= /usr/bin/chromium
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-browser check bench soak clean

demo: $(INSTALLED)  ## draw a small data set, learn it, write a report
	$(BIN)/pixelwise demo --out runs/demo

test: $(INSTALLED_DEV)  ## the tests and the doctests
	$(BIN)/python -m pytest -q -n auto --dist worksteal

test-browser: $(INSTALLED_BROWSER)  ## the page of `pixelwise serve` in a real browser: Debian's chromium, or CHROMIUM=PATH
	@test -x "$(CHROMIUM)" || { echo "no browser at $(CHROMIUM): apt install chromium, or make test-browser CHROMIUM=PATH"; exit 1; }
	PIXELWISE_BROWSER=1 PIXELWISE_CHROMIUM="$(CHROMIUM)" $(BIN)/python -m pytest -q tests/server/test_page.py

check: $(INSTALLED_DEV)  ## format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

soak: $(INSTALLED_DEV)  ## the tests with full counts of what is long
	PIXELWISE_SOAK=1 $(BIN)/python -m pytest -q -n auto --dist worksteal

bench: $(INSTALLED_DEV)  ## the claims on speed and quality that need no data but our own
	$(BIN)/python benchmarks/resample_argmax.py
	$(BIN)/python benchmarks/import_time.py
	$(BIN)/python benchmarks/confusion_matrix.py
	$(BIN)/python benchmarks/check_speed.py
	$(BIN)/python benchmarks/gpu/networks.py --device cpu --width 0.125 --size 96

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): pyproject.toml constraints.txt | $(VENV)/bin/pip
	@echo "Installing pixelwise and what it needs into $(VENV) (a minute or two the first time) …"
	$(BIN)/pip install -q -c constraints.txt -e .
	@touch $@

$(INSTALLED_DEV): pyproject.toml constraints.txt | $(VENV)/bin/pip
	@echo "Installing pixelwise and its test tools into $(VENV) (a minute or two the first time) …"
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	@touch $@ $(INSTALLED)

$(INSTALLED_BROWSER): $(INSTALLED_DEV)
	@echo "Installing Playwright, which drives the browser, into $(VENV) …"
	$(BIN)/pip install -q -c constraints.txt playwright
	@touch $@
