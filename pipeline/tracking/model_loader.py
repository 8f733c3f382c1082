"""What MLflow imports, by the name of this file, to load a model; `mlflow_model` copies the file into each model."""

from typing import Any

import numpy as np
import torch

from capsnet.evaluation.recognition import seen
from capsnet.networks.capsnet import CapsNet
from capsnet.networks.saved import load

BATCH = 256


class PyfuncModel:
    """A network with the one method that MLflow calls."""

    def __init__(self, network: CapsNet) -> None:
        self.network = network

    def predict(self, images: np.ndarray, params: dict[str, Any] | None = None) -> np.ndarray:
        """Return the lengths of the class capsules.

        Args:
            images: (N, C, H, W), uint8; the network sees their centre.
            params: Ignored; MLflow passes it.

        Returns (N, J), float32.
        """
        with torch.no_grad():
            batches = [self.network(seen(self.network, batch)).lengths for batch in torch.tensor(images).split(BATCH)]
        return torch.cat(batches).numpy()


def _load_pyfunc(path: str) -> PyfuncModel:
    """Load the network's file; MLflow calls this by its name."""
    return PyfuncModel(load(path))
