"""Runs graphs: sessions, batching, images in, pictures out."""
