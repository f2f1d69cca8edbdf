"""A file a kind of input: how it is read, its baseline, and what of it the model saw."""
