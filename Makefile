VENV ?= .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed

.PHONY: demo test test-slow lint clean

# environment, then the main job on a real photograph
demo: $(STAMP)
	$(VENV)/bin/maskrcnn demo --out out/demo.png

test: $(STAMP)
	$(PY) -m pytest

test-slow: $(STAMP)
	$(PY) -m pytest -m slow

lint: $(STAMP)
	$(PY) -m ruff check src tests benchmarks
	$(PY) -m ruff format --check src tests benchmarks
	$(PY) -m mypy

$(STAMP): pyproject.toml constraints.txt
	test -x $(PY) || python3 -m venv $(VENV) || \
	  { echo "make: python3 -m venv failed; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PY) -m pip install -q --upgrade pip
	$(PY) -m pip install -q -c constraints.txt -e '.[demo,plots,tensorboard,dev]'
	touch $@

clean:
	rm -rf $(VENV) out build dist
