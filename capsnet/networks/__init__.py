"""Capsule networks: squash, routing, layers, decoders, losses, the networks made of them, and their files."""
