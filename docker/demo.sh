#!/bin/sh
# Compose's one-shot trainer: makes the demo artifact in /artifacts where there is none, and leaves any other alone.
set -eu
PATH=/venv/bin:$PATH
if [ -e /artifacts/current/manifest.json ]; then
  echo "found an artifact in the volume; nothing to train"
  exit 0
fi
cd /tmp
python -m training simulate --out /tmp/logs/demo --force
python -m training run /tmp/logs/demo --recipe demo --run /tmp/run --cases 2000 --out /artifacts
