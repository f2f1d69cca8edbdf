"""What is known about a model before it is explained: loading, checking, model cards, the demo."""
