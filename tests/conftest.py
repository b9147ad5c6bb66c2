"""Set-up of all tests."""

import os

# As in the trainer's command line, this must be set before torch is loaded. Tests share their machine.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
