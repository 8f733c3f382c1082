"""What MLflow imports, by the name of this file, to load a model; `mlflow_model` copies the file into each model."""

from typing import Any

import numpy as np
import torch

from capsnet.evaluation.recognition import recognise
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
        batches = torch.tensor(images).split(BATCH)
        lengths = [recognise(self.network, batch, decoded=0).output.lengths for batch in batches]
        return torch.cat(lengths).numpy()


def _load_pyfunc(path: str) -> PyfuncModel:
    """Load the network's file; MLflow calls this by its name."""
    return PyfuncModel(load(path))
