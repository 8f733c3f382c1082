"""The parts of the command that classifies pictures."""
