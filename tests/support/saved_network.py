"""What a saved network makes of some images, without the ways that are tested."""

from pathlib import Path

import numpy as np
import torch

import capsnet
from capsnet.evaluation.recognition import seen

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 1, 20, 20), dtype=np.uint8)


def lengths(network: Path, images: np.ndarray = IMAGES) -> np.ndarray:
    model = capsnet.load(network)
    with torch.no_grad():
        return model(seen(model, torch.from_numpy(images))).lengths.numpy()
