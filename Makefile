# make quickstart   the whole chain once, in minutes on two CPU cores
# make app          the quickstart's model in the browser
# make test         the tests
# make bench        speed and memory
# make figures      the README's tables: three quickstarts, and with DFA_REAL_FACES three for each set of real faces
# Each does all the set-up it needs, in .venv.

NEW_ENOUGH := 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(firstword $(foreach name,python3.11 python3 python,$(shell $(name) -c $(NEW_ENOUGH) 2>/dev/null && echo $(name))))
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

.PHONY: quickstart app test test-real-pictures slow bench figures

$(INSTALLED): setup.cfg constraints.txt
	@$(or $(PYTHON),false) -c $(NEW_ENOUGH) || { echo 'Python 3.11 or newer is missing (found neither python3.11 nor a python3 that is; PYTHON=/path/to/python names one)' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make environments: its venv is missing (on Debian and Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

quickstart: $(INSTALLED)
	$(BIN)/dfa-gpt quickstart

app: $(INSTALLED)
	test -d runs/quickstart/adapter || $(BIN)/dfa-gpt quickstart
	$(BIN)/dfa-gpt app runs/quickstart/adapter

test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST)

test-real-pictures: $(INSTALLED)
	$(PYTEST) -m real_pictures

slow: $(INSTALLED)
	$(BIN)/pytest tests/slow

bench: $(INSTALLED)
	$(BIN)/python tests/benchmarks/shared_prefix.py
	$(BIN)/python tests/benchmarks/faces.py
	$(BIN)/python tests/benchmarks/evidence.py
	$(BIN)/python tests/benchmarks/conversation.py
	$(BIN)/python tests/benchmarks/annotate.py
	$(BIN)/python tests/benchmarks/bench.py
	$(BIN)/python tests/benchmarks/duplicates.py
	$(BIN)/python tests/benchmarks/listing.py
	$(BIN)/python tests/benchmarks/busy.py
	$(BIN)/python tests/benchmarks/photo_tower.py
	$(BIN)/python tests/benchmarks/serving.py
	$(BIN)/pytest --capture=no tests/slow/test_app.py

figures: $(INSTALLED)
	$(BIN)/python tests/benchmarks/quickstart.py
	$(BIN)/python tests/benchmarks/real_faces.py
