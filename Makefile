# `make` alone lists the targets. Each target first installs the environment that it needs into .venv.
PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt
LOG := .nexttrack/logs/demo
# docker/demo.sh simulates the same world.
WORLD := --world habits --listeners 150 --tracks 2000 --artists 200 --sessions 40 --days 180
# A file's tests run on one core, so that they share its fixtures. tests/conftest.py orders the files.
PARALLEL := --numprocesses auto --dist loadfile --no-loadscope-reorder
EFFORT := $(if $(QUICK),--seeds 1 --epochs 15,--seeds 3)
REAL := --seeds 1 --epochs $(if $(QUICK),15,60)
COMPARED := .nexttrack/logs/$(if $(QUICK),quick,moods)

.DEFAULT_GOAL := help
SYSTEMS := sasrec positives marked skip-targets both contrastive \
  seshadri-knees seshadri-knees-masked mei mei-random mei-explicit sine nexttrack
# Where nothing is skipped only these systems differ, and there is no AUC to select by.
BLIND := sasrec seshadri-knees-masked mei-random sine:fit.select=ndcg@10 nexttrack

.PHONY: help run demo test check format bench compare systems clean

help: ## list the targets
	@echo "nexttrack: the service a music player asks \"what next?\""
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  PORT=8000 and PYTHON=python3 can be set. README.md and docs/ have the rest."

run: $(VENV)/run.stamp ## install, train the demo model if there is no model yet, serve it on PORT
	@[ -e artifacts/current/manifest.json ] || $(MAKE) --no-print-directory demo
	@NEXTTRACK_PORT=$(PORT) NEXTTRACK_LOG_FORMAT=$${NEXTTRACK_LOG_FORMAT:-console} exec $(BIN)/python -m service

demo: $(VENV)/run.stamp ## simulate listeners and train the demo model on them (about a minute on two cores)
	@echo "Training the demo model. This takes about a minute on two free cores."
	@[ -e $(LOG)/log.json ] || { echo "1/2 Simulating 150 listeners, with what they repeat, discover and skip …"; \
	  $(BIN)/python -m training simulate $(WORLD) --out $(LOG); }
	@echo "2/2 Training a model on them and measuring it beside simple baselines …"
	@$(BIN)/python -m training run $(LOG) --recipe demo --cases 2000

test: $(VENV)/test.stamp ## run the tests
	@$(BIN)/python -m pytest $(PARALLEL)

check: $(VENV)/test.stamp ## the gate: format, lint, types, import arrows, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest $(PARALLEL)

systems: $(VENV)/test.stamp ## train each published system small, serve it, and compare its lists with the trainer's (a minute)
	@$(BIN)/python -m pytest -m systems --numprocesses auto tests/test_systems.py

format: $(VENV)/test.stamp ## format the code and apply the lint rules' own fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/test.stamp ## measure speed, beside other model servers that can be installed (QUICK=1: one round, no others)
	@$(BIN)/python -m tests.load $(if $(QUICK),--quick)

compare: $(VENV)/run.stamp ## compare the ablations, the published systems and ours (QUICK=1: a small world, minutes)
	@[ -e $(COMPARED)/log.json ] || $(BIN)/python -m training simulate --out $(COMPARED) $(if $(QUICK),--listeners 300 --tracks 600)
	@$(BIN)/python -m training compare $(SYSTEMS) --log $(COMPARED) $(EFFORT)
ifdef KUAIRAND
	@$(BIN)/python -m training compare $(SYSTEMS) mei-unread kuairand --log $(KUAIRAND) --protocol kuairand $(REAL)
endif
ifdef NOWPLAYING
	@$(BIN)/python -m training compare $(BLIND) nowplaying --log $(NOWPLAYING) --protocol nowplaying --cases 8000 $(REAL)
endif

clean: ## delete the environment, caches and simulated logs; artifacts, runs, figures and listeners' data stay
	rm -rf $(VENV) .nexttrack/logs/demo .nexttrack/logs/moods .nexttrack/logs/quick .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis *.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "found Python " + sys.version.split()[0] + "; nexttrack needs 3.11 or newer: make run PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing Python packages into $(VENV). They take about 1.7 GB of disk with PyTorch for CPUs, and minutes the first time …"
	@$(INSTALL) --editable '.[service,training]'
	@touch $@

$(VENV)/test.stamp: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing Python packages for tests into $(VENV) …"
	@$(INSTALL) --editable '.[service,training,dev]'
	@touch $@ $(VENV)/run.stamp
