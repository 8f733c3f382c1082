"""Images as arrays and tensors: the common format, augmentation, pairs, rotation, a user's own pictures."""
