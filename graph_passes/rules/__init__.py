"""One small function per ONNX operator: how a cotangent goes from its outputs to its inputs."""
