"""Code that trainer and service share, because both must agree on it."""

import os

# Unless this variable is set, ONNX Runtime prepares a message about the machine for its vendor when it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
