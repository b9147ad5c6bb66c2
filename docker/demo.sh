#!/bin/sh
# Compose's one-shot trainer: trains the demo model if /artifacts has no model yet. It never replaces a model.
set -eu
PATH=/venv/bin:$PATH
if [ -e /artifacts/current/manifest.json ]; then
  echo "Found a model in the volume. Nothing to train."
  exit 0
fi
echo "No model yet. Training the demo model on simulated listeners takes about a minute on two free cores."
cd /tmp
# The world of `make run`.
python -m training simulate --world habits --listeners 150 --tracks 2000 --artists 200 --sessions 40 --days 180 \
  --out /tmp/logs/demo --force
python -m training run /tmp/logs/demo --recipe demo --run /tmp/run --cases 2000 --out /artifacts
