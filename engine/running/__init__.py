"""Runs graphs: sessions, stages, rows of a batch, adaptive points."""
