"""Training: settings, tasks, step, loop, training states, several processes."""
