"""onnxplain: explain what an exported ONNX model looked at, by a graph that explains itself."""
