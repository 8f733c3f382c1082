"""Scoring the trained networks of one run on its test set: what `evaluate`, `publish` and `rotate` have in common."""
