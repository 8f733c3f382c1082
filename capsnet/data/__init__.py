"""Data sets: one file each with its official files and its reader, all brought into the format of `arrays`."""

from capsnet.data import digits, mnist

# Each has FILES, servers() and read(folder) -> Arrays.
DATASETS = {"digits": digits, "mnist": mnist}
