"""HTTP in, HTTP out: sessions in Redis, the model in ONNX Runtime; this file imports nothing on purpose."""
