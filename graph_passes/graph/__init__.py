"""The language in which passes, rules and heads are written: tensors, emitting, names, shapes."""
