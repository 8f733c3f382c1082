"""Where images come from: one file per data set and per file format."""
