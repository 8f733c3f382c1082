"""The data sets with official files; each module has FILES, servers() and read(folder) -> Arrays."""

from capsnet.data import digits, mnist

DATASETS = {"digits": digits, "mnist": mnist}
