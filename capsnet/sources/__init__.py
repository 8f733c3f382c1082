"""The data sets and file formats that images are read from, one file for each."""
