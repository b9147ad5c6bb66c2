"""Code that trainer and service share, because both must agree on it."""

import os

# ONNX Runtime sends a description of the machine to its vendor when it is imported, unless this variable is set.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
