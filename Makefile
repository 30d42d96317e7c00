# Everything here sets up what it needs, in its own virtual environment (.venv).
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
INSTALLED_DOCS := $(VENV)/.installed-docs
INSTALLED_BROWSER := $(VENV)/.installed-browser
CHROMIUM ?= /usr/bin/chromium
# a broken link or anchor, or a page that the navigation leaves out, is an error
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-browser coverage check docs pages bench soak dist clean

demo: $(INSTALLED)  ## draw a small data set, learn it, write a report
	$(BIN)/pixelwise demo --out runs/demo

test: $(INSTALLED_DEV)  ## the tests and the doctests
	$(BIN)/python -m pytest -q -n auto --dist worksteal

test-browser: $(INSTALLED_BROWSER)  ## the page of `pixelwise serve` in a real browser: Debian's chromium, or CHROMIUM=PATH
	@test -x "$(CHROMIUM)" || { echo "no browser at $(CHROMIUM): apt install chromium, or make test-browser CHROMIUM=PATH"; exit 1; }
	PIXELWISE_BROWSER=1 PIXELWISE_CHROMIUM="$(CHROMIUM)" $(BIN)/python -m pytest -q tests/server/test_page.py

check: $(INSTALLED_DEV) $(INSTALLED_DOCS)  ## format, lint, types, import rules, and that the documentation builds
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MKDOCS)

docs: $(INSTALLED_DOCS)  ## the site of the documentation: open site/index.html
	$(MKDOCS)

pages: $(INSTALLED_DEV)  ## write the generated pages of the documentation again, where the code has changed
	$(BIN)/python docs/generate/python_pages.py
	$(BIN)/python docs/generate/commands_page.py
	$(BIN)/python docs/generate/errors_page.py
	$(BIN)/python docs/generate/datasets_table.py
	$(BIN)/python docs/generate/recipes_table.py
	$(BIN)/python docs/generate/export_table.py --page
	$(BIN)/python docs/generate/papers_pages.py
	$(BIN)/python docs/generate/architecture_picture.py

coverage: $(INSTALLED_DEV)  ## the tests, and which lines of src they do not run; fails under 95 %
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q -n auto --dist worksteal
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

soak: $(INSTALLED_DEV)  ## the tests with full counts of what is long
	PIXELWISE_SOAK=1 $(BIN)/python -m pytest -q -n auto --dist worksteal

bench: $(INSTALLED_DEV)  ## the claims on speed and quality that need no data but our own
	$(BIN)/python benchmarks/resample_argmax.py
	$(BIN)/python benchmarks/import_time.py
	$(BIN)/python benchmarks/confusion_matrix.py
	$(BIN)/python benchmarks/check_speed.py
	$(BIN)/python benchmarks/gpu/networks.py --device cpu --width 0.125 --size 96

dist: $(INSTALLED_DEV)  ## the wheel and the sdist, in dist/
	rm -rf dist
	$(BIN)/python -m hatchling build

clean:
	rm -rf $(VENV) site dist .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

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

$(INSTALLED_DOCS): pyproject.toml constraints.txt | $(VENV)/bin/pip
	@echo "Installing what builds the documentation into $(VENV) …"
	$(BIN)/pip install -q -c constraints.txt -e '.[docs]'
	@touch $@ $(INSTALLED)

$(INSTALLED_BROWSER): $(INSTALLED_DEV)
	@echo "Installing Playwright, which drives the browser, into $(VENV) …"
	$(BIN)/pip install -q -c constraints.txt playwright
	@touch $@
