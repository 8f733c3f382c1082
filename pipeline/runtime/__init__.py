"""What every stage needs around its work: command line, paths, scratch folders, device, processes."""
