"""A small data set of the user's."""

import numpy as np
import pytest
from own_arrays import Contents


@pytest.fixture
def good() -> Contents:
    """9 training and 4 test images of 6x6 pixels in 3 classes."""
    noise = np.random.default_rng(0)
    return {
        "train_images": noise.integers(0, 256, (9, 6, 6), np.uint8),
        "train_labels": np.arange(9) % 3,
        "test_images": noise.integers(0, 256, (4, 6, 6), np.uint8),
        "test_labels": np.array([2, 1, 0, 1]),
    }
