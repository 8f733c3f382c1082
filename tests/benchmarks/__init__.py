"""What a training step costs in time and memory, beside plain public formulations: `make bench`."""
