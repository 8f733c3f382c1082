"""`make faults`: a small study killed, filled up and damaged many times, and what was lost."""
