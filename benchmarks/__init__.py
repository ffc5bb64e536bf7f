"""Experiments: each a command, its raw lines under `results/`."""
