"""Training every seed of one run: what they have in common, the seeds side by side, the files of the whole run."""
