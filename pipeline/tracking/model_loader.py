"""What MLflow imports, by the name of this file, to load a model; `mlflow_model` copies the file into each model."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from capsnet.evaluation.recognition import recognise
from capsnet.networks.capsnet import CapsNet
from capsnet.networks.saved import load, read_facts

BATCH = 256


class PyfuncModel:
    """A network with the methods that MLflow calls."""

    def __init__(self, network: CapsNet, crops: bool) -> None:
        self.network = network
        self.crops = crops  # trained on parts of larger images

    @property
    def python_model(self) -> CapsNet:
        """The network, for `unwrap_python_model` of MLflow."""
        return self.network

    def get_raw_model(self) -> CapsNet:
        """Return the network: an nn.Module with capsules, coupling and reconstruction."""
        return self.network

    def predict(self, images: Any, params: dict[str, Any] | None = None) -> np.ndarray:
        """Return the lengths of the class capsules.

        Args:
            images: (N, C, H, W), whole numbers from 0 to 255, or floats from 0 to 1. Numbers that are all 0 and 1 are
                taken for floats if they are of a type of floats, otherwise for whole numbers.
            params: Ignored; MLflow passes it.

        Returns (N, J), float32. Raises MlflowException for other values, and for a size that the network cannot see.
        """
        batches = torch.from_numpy(self._as_seen(images)).split(BATCH)
        lengths = [recognise(self.network, batch, decoded=0).output.lengths for batch in batches]
        return torch.cat(lengths).cpu().numpy()

    def _as_seen(self, images: Any) -> np.ndarray:
        """Return images as an array of uint8."""
        try:
            values = np.asarray(images)
        except ValueError:  # lists of different lengths
            raise _refused("got images of different sizes in one request, expected one size") from None
        config = self.network.config
        side, channels = config.image_size, config.channels
        expected = f"(N, {channels}, {side}, {side})" + (", or larger images, of which it sees the centre" * self.crops)
        if values.ndim != 4 or values.shape[1] != channels or not len(values):
            raise _refused(f"shape: got {values.shape}, expected {expected}")
        height, width = values.shape[2:]
        if min(height, width) < side or (max(height, width) > side and not self.crops):
            raise _refused(f"size: got images of {height}x{width} pixels, expected {expected}")
        if values.dtype.kind not in "biuf":
            raise _refused(f"values: got {values.dtype}, expected numbers")
        least, most = float(values.min()), float(values.max())
        if values.dtype.kind == "f" and least >= 0 and most <= 1:
            values = np.rint(255 * values.astype(np.float64))
        elif not (least >= 0 and most <= 255 and (values == np.rint(values)).all()):
            what = f"numbers from {least:g} to {most:g}" if np.isfinite([least, most]).all() else "numbers not finite"
            raise _refused(f"values: got {what}, expected whole numbers from 0 to 255, or fractions from 0 to 1")
        return np.ascontiguousarray(values, dtype=np.uint8)


def _refused(message: str) -> MlflowException:
    """Return the exception that MLflow's server answers with status 400 and this message."""
    return MlflowException(message, INVALID_PARAMETER_VALUE)


def _load_pyfunc(path: str) -> PyfuncModel:
    """Load the network's file; MLflow calls this by its name."""
    settings = read_facts(Path(path)).get("settings") or {}
    return PyfuncModel(load(Path(path)), crops=bool(settings.get("crop")))
