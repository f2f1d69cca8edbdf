"""Maps beside maps: how alike they are, what a model's methods owe, and what a change moved."""
