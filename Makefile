# make quickstart   the whole chain once, in minutes on two CPU cores
# make app          the quickstart's model in the browser
# make test         the tests
# make bench        speed and memory
# make figures      the README's table: three quickstarts
# Each does all the set-up it needs, in .venv.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: quickstart app test slow bench figures

$(INSTALLED): setup.cfg constraints.txt
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
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

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
	$(BIN)/pytest --capture=no tests/slow/test_app.py

figures: $(INSTALLED)
	$(BIN)/python tests/benchmarks/quickstart.py
