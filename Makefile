VENV ?= .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed

PEER ?= ../shared/tools/torchvision_peer.sh

.PHONY: demo test test-slow benchmark fuzz smoke docs lint clean

# environment, then the main job on a real photograph
demo: $(STAMP)
	$(VENV)/bin/maskrcnn demo --out out/demo.png

# a process on each core, and a thread in each: more than cores would wait for one another
test: $(STAMP)
	OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --dist worksteal

test-slow: $(STAMP)
	$(PY) -m pytest -m slow

# torchvision is put beside us in an environment of its own, to measure against: it is never a dependency
benchmark: $(STAMP)
	test -x .venv-peer/bin/python || sh benchmarks/peer.sh $(VENV) .venv-peer $(PEER)
	for name in operators inference engines training evaluation start growth; do \
	  LD_LIBRARY_PATH=.venv-peer/peer-stubs .venv-peer/bin/python benchmarks/$$name.py --json out/benchmarks/$$name.json \
	    || exit 1; \
	done

# 20,000 spoilt label files of every format, with a table of what the readers made of them
fuzz: $(STAMP)
	$(PY) tests/labels/fuzz_readers.py --count 20000

# the wheel in an empty environment without this repository, and the how-tos of docs/ typed as they stand
smoke:
	python3 tools/smoke.py

# the pages of docs/ with the API reference, in out/docs
docs: $(STAMP)
	$(PY) -m pip install -q -c constraints.txt -e '.[docs]'
	$(PY) -m mkdocs build --strict -q -d out/docs

lint: $(STAMP)
	$(PY) -m ruff check src tests benchmarks tools
	$(PY) -m ruff format --check src tests benchmarks tools
	$(PY) -m mypy
	$(VENV)/bin/lint-imports --no-cache

$(STAMP): pyproject.toml constraints.txt
	test -x $(PY) || python3 -m venv $(VENV) || \
	  { echo "make: python3 -m venv failed; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PY) -m pip install -q --upgrade pip
	$(PY) -m pip install -q -c constraints.txt -e '.[demo,parquet,plots,tensorboard,openvino,onnx,serve,video,dev]'
	touch $@

clean:
	rm -rf $(VENV) .venv-peer out build dist
