"""Parts of `mend`: the files of DVC that a kill can leave torn, and the processes of DVC that are at work."""
