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

        from capsnet.evaluation.recognition import seen

        with torch.no_grad():
            batches = [self.model(seen(self.model, batch)).lengths for batch in torch.tensor(images).split(BATCH)]
        return torch.cat(batches).numpy()


def _load_pyfunc(path: str) -> Served:
    from capsnet.networks.saved import load

    return Served(load(path))
