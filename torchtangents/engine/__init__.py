"""Execution: which entries are needed, in which order they are computed, and in tiles of what size."""
