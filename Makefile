# `make` alone says what there is. Each target makes the environment that it needs, in .venv.
PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
LOG := .nexttrack/logs/demo
EFFORT := $(if $(QUICK),--seeds 1 --epochs 15,--seeds 3)
REAL := --seeds 1 --epochs $(if $(QUICK),15,60)
COMPARED := $(if $(QUICK),.nexttrack/logs/quick,$(LOG))

.DEFAULT_GOAL := help
SYSTEMS := sasrec positives marked skip-targets both contrastive \
  seshadri-knees seshadri-knees-masked mei mei-random mei-explicit sine nexttrack
BLIND := sasrec seshadri-knees-masked mei-random sine:fit.select=ndcg@10 nexttrack  # those that differ where nothing is skipped (no AUC there)

.PHONY: help run demo test check format bench compare systems clean

help: ## say what there is
	@echo "nexttrack: the service a music player asks \"what next?\""
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  PORT=8000 and PYTHON=python3 can be set; README.md has the rest."

run: $(VENV)/run.stamp ## install, train the demo model where there is no model yet, serve on PORT
	@[ -e artifacts/current/manifest.json ] || $(MAKE) --no-print-directory demo
	@NEXTTRACK_PORT=$(PORT) NEXTTRACK_LOG_FORMAT=$${NEXTTRACK_LOG_FORMAT:-console} exec $(BIN)/python -m service

demo: $(VENV)/run.stamp ## make up listeners and train a model on them (about a minute)
	@[ -e $(LOG)/log.json ] || $(BIN)/python -m training simulate --out $(LOG)
	@$(BIN)/python -m training run $(LOG) --recipe demo --cases 2000

test: $(VENV)/test.stamp ## run the tests
	@$(BIN)/python -m pytest --numprocesses auto

check: $(VENV)/test.stamp ## the gate: format, lint, types, import arrows, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --numprocesses auto

systems: $(VENV)/test.stamp ## train each published system small, serve it, and hold the lists against the trainer's (a minute)
	@$(BIN)/python -m pytest -m systems

format: $(VENV)/test.stamp ## format the code and mend what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/test.stamp ## measure speed, beside rivals where they install (QUICK=1: one round, no rivals)
	@$(BIN)/python -m tests.load $(if $(QUICK),--quick)

compare: $(VENV)/run.stamp ## the ablation, the published systems and ours (QUICK=1: a small world, minutes)
	@[ -e $(COMPARED)/log.json ] || $(BIN)/python -m training simulate --out $(COMPARED) $(if $(QUICK),--listeners 300 --tracks 600)
	@$(BIN)/python -m training compare $(SYSTEMS) --log $(COMPARED) $(EFFORT)
ifdef KUAIRAND
	@$(BIN)/python -m training compare $(SYSTEMS) mei-unread kuairand --log $(KUAIRAND) --protocol kuairand $(REAL)
endif
ifdef NOWPLAYING
	@$(BIN)/python -m training compare $(BLIND) nowplaying --log $(NOWPLAYING) --protocol nowplaying --cases 8000 $(REAL)
endif

clean: ## delete the environment, caches and made-up logs; artifacts, runs, figures and the embedded Valkey's listeners stay
	rm -rf $(VENV) .nexttrack/logs/demo .nexttrack/logs/quick .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "nexttrack needs Python 3.11 or newer; set PYTHON=")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV) …"
	@$(INSTALL) --editable '.[service,training]'
	@touch $@

$(VENV)/test.stamp: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV) …"
	@$(INSTALL) --editable '.[service,training,dev]'
	@touch $@ $(VENV)/run.stamp
