"""Networks that are trained on drawn shapes and texts, and what is held against them."""
