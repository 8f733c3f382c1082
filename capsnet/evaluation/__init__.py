"""Scores of trained networks: recognition of one class, separation of two."""
