"""What every stage needs around its work: command line, paths, working files, locks, device, processes, data."""
