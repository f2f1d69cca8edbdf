"""Batches: many images through one model, by several processes, into shards of rows."""
