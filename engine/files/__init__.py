"""Files that are written: each is whole, or is not there."""
