"""What is explained: input, output, score, target and feature maps."""
