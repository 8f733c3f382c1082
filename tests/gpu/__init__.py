"""The first minutes on a GPU: whether everything written for it works, and how fast it is."""
