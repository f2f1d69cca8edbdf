"""The commands' arguments, and what they print: a short function each, one call of the engine."""
