"""Scores of networks: recognition of one class in an image, separation of two."""
