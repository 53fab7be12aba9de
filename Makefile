# Two commands: `make demo` and `make test`. Both set everything up first; a second run is quick.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Another build of PyTorch: make demo TORCH="torch==2.13.0 --index-url URL-OF-A-CUDA-BUILD"
TORCH ?= torch==2.13.0
READY := $(VENV)/.ready

.PHONY: dist docs encoders encoder-tiles train-small demo test lint types unit soak stack-test bench evaluate evaluate-docs clean gallery

# On another port than 8000: make demo PORT=9000
demo: $(READY)
	$(BIN)/loc2vec demo $(if $(PORT),--port $(PORT))

# The types beside the tests, which often wait.
test: lint
	$(MAKE) --jobs 2 types unit

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

# One thread for each process: more would wait for each other. Three on two cores, as tests often wait for
# what they started. Modules are compiled once, not in each process that a test starts.
# With RERUNS=1 a test that fails is tried once more, and named: a fault of the test, to be mended.
# With COVER=1 it shows what the tests reach, and fails below 85 %. Tracing takes a sixth of the time.
unit: $(READY)
	PYTHONDONTWRITEBYTECODE= OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(if $(COVER),--cov --cov-report=term:skip-covered) $(if $(RERUNS),--reruns $(RERUNS) -raR)

soak: $(READY)
	$(BIN)/python -m pytest -m soak

# The full stack, started for real: needs a Docker engine with Compose v2.
stack-test: $(READY)
	$(BIN)/python -m pytest -m stack tests/stack

# The docs site in build/site. Warnings are errors: broken links, missing anchors, pages without a place in the menu.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "read it: python3 -m http.server --directory build/site"

# The wheel and the source of a release.
dist: $(READY)
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

SMALL := build/train-small

# The whole recipe in minutes: store, tiles, training with its page, on the bundled extract of Monaco.
train-small: $(READY)
	rm -rf $(SMALL)/run
	$(BIN)/loc2vec import service/data/monaco.osm.pbf --store $(SMALL)/monaco.gpkg --if-changed
	$(BIN)/loc2vec tile --store $(SMALL)/monaco.gpkg --out $(SMALL)/tiles --locations 500 --positives 10
	$(BIN)/loc2vec tile --store $(SMALL)/monaco.gpkg --out $(SMALL)/validation --locations 200 --positives 2 --seed 1
	$(BIN)/loc2vec train --tiles $(SMALL)/tiles --validation $(SMALL)/validation --out $(SMALL)/run --steps 200

ENCODERS := build/encoders
# Of the table of encoders: datasets (others of further radii beside them), the extract that the probes are asked of.
TILES ?= $(ENCODERS)/tiles
VALIDATION ?= $(ENCODERS)/validation
EXTRACT ?= service/data/monaco.osm.pbf
STEPS ?= 100
SEEDS ?= 3
DEVICE ?= auto

# One table of all families, dims and radii; PUBLISH=1 puts it into docs/encoders.md. What is done is not done again.
encoders: $(READY) $(if $(filter $(ENCODERS)/tiles,$(TILES)),encoder-tiles)
	$(BIN)/python benchmarks/encoders.py --tiles $(TILES) --validation $(VALIDATION) --extract $(EXTRACT) \
		--out $(ENCODERS) --steps $(STEPS) --seeds $(SEEDS) --device $(DEVICE)
	$(if $(PUBLISH),$(BIN)/python docs/make/publish_encoders.py $(ENCODERS)/nce-$(STEPS)/table.md)

# The same places in both radii: those of the wider tiles, which lie deeper inside the data. The bundled extract is too
# small for tiles of 400 m, all of which would overlap: those rows of the table are left out.
encoder-tiles: $(READY)
	$(BIN)/loc2vec import service/data/monaco.osm.pbf --store $(ENCODERS)/monaco.gpkg --if-changed
	for kind in "tiles 400 5 0" "validation 200 1 1"; do set -- $$kind; \
		$(BIN)/loc2vec tile --store $(ENCODERS)/monaco.gpkg --out $(ENCODERS)/$$1-200 --tile-radius 200 \
			--locations $$2 --positives $$3 --seed $$4 || exit 1; \
		$(BIN)/loc2vec tile --store $(ENCODERS)/monaco.gpkg --out $(ENCODERS)/$$1 \
			--points $(ENCODERS)/$$1-200/places.parquet --positives $$3 --seed $$4 || exit 1; \
	done

bench: $(READY)
	$(BIN)/loc2vec import service/data/monaco.osm.pbf --store build/monaco.gpkg --if-changed
	$(BIN)/python benchmarks/render.py --store build/monaco.gpkg
	$(BIN)/python benchmarks/place.py --store build/monaco.gpkg
	$(BIN)/loc2vec tile --store build/monaco.gpkg --out build/bench-tiles --locations 100 --positives 5
	$(BIN)/python benchmarks/train.py --tiles build/bench-tiles
	$(BIN)/python benchmarks/encode.py

EVALUATION := build/evaluation
# Tasks made of these extracts, for example EXTRACTS="a.osm.pbf b.osm.pbf"; SAMPLE places of each class; the MODELS shipped.
# PEERS: a folder of other projects' vectors at the same places (docs/make/peers.py, docs/make/colour_tiles.py).
EXTRACTS ?= service/data/monaco.osm.pbf
SAMPLE ?= 100
MODELS ?= $(notdir $(wildcard loc2vec/model/weights/*))

evaluate: $(READY)
	$(BIN)/loc2vec import $(EXTRACTS) --store $(EVALUATION)/store.gpkg --if-changed
	rm -rf $(EVALUATION)/tiles
	$(BIN)/loc2vec tile --store $(EVALUATION)/store.gpkg --out $(EVALUATION)/tiles --locations 500 --positives 1
	$(BIN)/loc2vec evaluate $(EXTRACTS) --store $(EVALUATION)/store.gpkg --tiles $(EVALUATION)/tiles $(MODELS:%=--model %) \
		--per-class $(SAMPLE) --out $(EVALUATION)
	$(if $(PEERS),$(BIN)/python docs/make/add_peers.py --report $(EVALUATION) --peers $(PEERS))

# The same, and its tables go into README.md and docs/; with TOWN=newport_gb also those of this town alone, across its blocks.
evaluate-docs: evaluate
	$(if $(TOWN),$(BIN)/loc2vec evaluate $(filter $(TOWN).osm.pbf %/$(TOWN).osm.pbf,$(wildcard $(EXTRACTS))) --store $(EVALUATION)/store.gpkg \
		$(MODELS:%=--model %) --per-class $(SAMPLE) --out $(EVALUATION)/$(TOWN))
	$(BIN)/python docs/make/publish_evaluation.py --report $(EVALUATION) $(if $(TOWN),--town $(TOWN))

# Pictures of what the model has learned, for docs/gallery.md; with more EXTRACTS there are more of them.
GALLERY_MODEL ?= place-16

gallery: $(READY)
	$(BIN)/python docs/make/gallery.py $(EXTRACTS) --model $(GALLERY_MODEL)

# PyTorch goes in first and pinned: asked for by another package, pip would take the newest build.
$(READY): pyproject.toml constraints.txt Makefile
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt $(TORCH)
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet -c constraints.txt --editable '.[dev]'  # setuptools warns of every editable install
	touch $@

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache
