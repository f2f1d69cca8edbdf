"""Explaining graphs as files: one method or several, with photos, at an opset, with their facts."""
