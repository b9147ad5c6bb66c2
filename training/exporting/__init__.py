"""From a network to an artifact: ONNX graphs, the catalogue's scan, the checks that both give torch's answers."""
