"""What holds for all tests."""

import os

# As the trainer's command line does it, before anything loads torch: tests share their machine.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
