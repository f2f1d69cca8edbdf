"""Kinds of targets, a file each: what a module here calls KIND is known everywhere."""
