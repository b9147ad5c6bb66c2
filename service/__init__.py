"""The service: HTTP requests, sessions in Redis, the model in ONNX Runtime. This file imports nothing on purpose."""
