"""Data sets: one file each with its official files and its reader, all brought into the format of `arrays`."""
