"""Pictures: one file a picture, each a function of what is to be seen to a `Drawing`."""
