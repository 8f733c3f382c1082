"""What MLflow imports to load a saved model; `pipeline.tracking.serving` puts a copy of this file into each model."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from capsnet.networks.capsnet import CapsNet

BATCH = 256


class Served:
    """A network behind MLflow's one method."""

    def __init__(self, model: "CapsNet") -> None:
        self.model = model

    def predict(self, images: "np.ndarray", params: dict[str, Any] | None = None) -> "np.ndarray":
        """Return the lengths (N, J) of the class capsules of uint8 images (N, C, H, W), of which it sees the centre."""
        import torch

        from capsnet.evaluation.recognition import recognise

        batches = torch.tensor(images).split(BATCH)
        lengths = [recognise(self.model, batch, decoded=0).output.lengths for batch in batches]
        return torch.cat(lengths).numpy()


def _load_pyfunc(path: str) -> Served:
    from capsnet.networks.saved import load

    return Served(load(path))
