"""Runs the model: ONNX Runtime sessions, batches of requests, and the models in use."""
