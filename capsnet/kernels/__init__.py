"""Routing without the vote tensor: kernels that make votes a tile at a time and never store them."""
