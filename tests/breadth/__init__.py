"""The coverage table's parts: networks that nobody here wrote, and what is held against them."""
