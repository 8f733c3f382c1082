"""The parts of `prove`: the entries of dvc.lock, commits, a short training, and the differences between two of them."""
