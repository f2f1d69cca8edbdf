"""Graph to graph: every method is a composition of these passes.

Pure; the model is never run here.
"""
