"""The model at work: ONNX Runtime sessions and the batcher in front of them."""
