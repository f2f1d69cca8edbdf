"""Where a model's card comes from when nobody wrote one: metadata, neighbours, the graph."""
