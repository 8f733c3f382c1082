"""Parts of `cluster`: what DVC does around a command, how a worker runs one, workers of this machine, progress."""
