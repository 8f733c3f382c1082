"""Parts of `prove`: what dvc.lock names, commits, a training in small, and what differs between two of them."""
