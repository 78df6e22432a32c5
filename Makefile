# Two targets do all: `make demo` and `make test`. Needs python >= 3.11 (PYTHON=... to choose one), make, a package index.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

# uv trusts what the system trusts, as pip and git do; the second name is that of older ones.
export UV_SYSTEM_CERTS := 1
export UV_NATIVE_TLS := 1

.PHONY: demo test test-formats lint types dist lock docs site clean
.PHONY: bench bench-order bench-prepare bench-pack bench-documents bench-fresh-documents bench-trainers bench-scale bench-formats bench-far

demo: $(VENV)/.demo
	$(BIN)/windrow demo

# As many processes as there are cores, 8 at most: many tests start some of their own.
test: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal --durations 10

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/mypy
	PATH="$(abspath $(BIN)):$$PATH" python scripts/check_types.py

# What a release uploads, in dist/.
dist: $(VENV)/.dev
	rm -rf dist
	$(BIN)/uv build --quiet
	$(BIN)/twine check --strict dist/*

# requirements-dev.txt: the extra dev with hashes, for every system and Python. Not torch: constraints.txt has it, for a
# build at hand has another hash than the index's. UPGRADE=--upgrade takes newer versions of everything.
lock:
	echo torch | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --excludes /dev/stdin --custom-compile-command "make lock" $(UPGRADE) --extra dev pyproject.toml \
	  --output-file requirements-dev.txt

# Figures of docs/order.md: the shuffle's statistics, and its cost beside others'.
bench-order: $(VENV)/.bench
	$(BIN)/python bench/order_quality.py
	$(BIN)/python bench/order.py
	$(BIN)/python bench/render.py

# Figures of docs/prepare.md: text to store beside bare tokenizers, on 200 MB and more.
bench-prepare: $(VENV)/.dev
	$(BIN)/python bench/prepare.py
	$(BIN)/python bench/render.py

# Figures of docs/documents.md: packing ten million documents, beside others' packers.
bench-pack: $(VENV)/.dev
	$(BIN)/python bench/pack.py
	$(BIN)/python bench/render.py

# Figures of docs/documents.md: what policies cost, and which documents stay neighbours.
bench-documents: $(VENV)/.dev
	$(BIN)/python bench/documents.py
	$(BIN)/python bench/render.py

# Figures of docs/documents.md: a small GPT with the same neighbours in every epoch, and with fresh ones.
bench-fresh-documents: $(VENV)/.dev
	$(BIN)/python bench/fresh_documents.py
	$(BIN)/python bench/render.py

# Figures of docs/scale.md: processor time, memory and bytes read of each path, over sizes a thousand times apart.
bench-scale: $(VENV)/.dev
	$(BIN)/python bench/scale.py
	$(BIN)/python bench/render.py

# Figures of docs/formats.md: gathers from each mapped format, and opening ten million documents.
bench-formats: $(VENV)/.dev
	$(BIN)/python bench/formats.py
	$(BIN)/python bench/render.py

# Figures of docs/far.md: reading from a server of objects through a cache, beside others. Needs ceph-mon, ceph-osd, radosgw.
bench-far: $(VENV)/.dev
	$(BIN)/python bench/far.py
	$(BIN)/python bench/render.py

# The table of docs/trainers.md: windrow in real trainers, stopped and resumed, every combination.
bench-trainers: .venv-trainers/.dev
	.venv-trainers/bin/python bench/trainers.py --all
	.venv-trainers/bin/python bench/render.py

# docs/benchmarks.md and the README's table: windrow beside every loader, each in an environment of its own.
bench: $(VENV)/.dev
	$(BIN)/python bench/loaders.py
	$(BIN)/python bench/render.py

docs: $(VENV)/.dev
	$(BIN)/python bench/render.py

# The site, in build/site. Its pages can be opened as they lie; search needs a server: python3 -m http.server -d build/site
site: .venv-docs/.docs
	.venv-docs/bin/python scripts/make_site.py

clean:
	rm -rf $(VENV) build dist src/*.egg-info

# torch first, alone: the pinned build needs no CUDA, and what follows finds it installed.
$(VENV)/.torch: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "windrow needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V). Use make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement constraints.txt
	touch $@

# What has the name windrow, ours of before or another project's, owns the folder that ours is installed in.
$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	$(BIN)/python -m pip uninstall -qq --disable-pip-version-check --yes windrow
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[torch,fast]"
	touch $@

$(VENV)/.dev: $(VENV)/.demo requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.txt
	touch $@

# The trainers that windrow is tested in; one that does not install is left out, and its tests say so.
.venv-trainers/.dev: constraints.txt constraints-trainers.txt
	$(PYTHON) -m venv .venv-trainers
	.venv-trainers/bin/python -m pip install --quiet --disable-pip-version-check --requirement constraints.txt
	grep -v '^#' constraints-trainers.txt | while read -r package; do \
	  .venv-trainers/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	    "$$package" || echo "not installed: $$package"; done
	.venv-trainers/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  --editable . pytest pytest-timeout pytest-xdist hypothesis
	touch $@

# One of the packages whose token files windrow reads; where it does not install, its tests say so.
.venv-formats/%/.dev: constraints.txt constraints-formats.txt
	$(PYTHON) -m venv .venv-formats/$*
	.venv-formats/$*/bin/python -m pip install --quiet --disable-pip-version-check --requirement constraints.txt
	.venv-formats/$*/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  "$$(grep '^$*==' constraints-formats.txt)" tokenizers orjson || echo "not installed: $*"
	.venv-formats/$*/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  --editable . pyarrow pytest pytest-timeout pytest-xdist hypothesis
	touch $@

# Files of the real packages read here, and exports read there: make test-formats FORMATS="datatrove litdata".
FORMATS ?= megatron-core datatrove datasets
test-formats: $(FORMATS:%=.venv-formats/%/.dev)
	for package in $(FORMATS); do .venv-formats/$$package/bin/python -m pytest -rs tests/formats || exit 1; done

.venv-docs/.docs: constraints-docs.txt pyproject.toml
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check --requirement constraints-docs.txt --editable .
	touch $@

$(VENV)/.bench: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt grain
	touch $@
