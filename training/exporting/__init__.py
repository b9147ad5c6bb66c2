"""From a network to an artifact: ONNX graphs, the search of the catalogue, and checks that graphs and network agree."""
