"""Set-up of all tests."""

import os

# Like the trainer's command line, before anything loads torch: tests share their machine.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
