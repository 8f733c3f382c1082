"""Capsule networks: squash, routing, layers, decoders, losses, and the networks made of them."""
