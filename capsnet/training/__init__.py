"""Training: the loop, the step, the tasks, several processes, training states."""
