"""A network as an ONNX file, which takes images and returns the lengths of class capsules and reconstructions.

Axes: B batch, C channels, H height and width.
"""

import copy
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from capsnet.files import whole_file
from capsnet.networks.capsnet import CapsNet

IMAGES = "images"
OUTPUTS = ("lengths", "reconstruction")
BATCHES = (1, 3)  # sizes at which an exported network is compared with its original
TOLERANCE = 1e-4


class Exported(nn.Module):
    """A copy of a network that uses torch's own operations only, which ONNX can express, and returns plain tensors."""

    def __init__(self, model: CapsNet) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        for layer in self.model.modules():
            if hasattr(layer, "fast"):
                layer.fast = False  # type: ignore[assignment]

    def forward(self, images: Float[Tensor, "B C H H"]) -> tuple[Tensor, ...]:
        output = self.model(images)
        return (output.lengths,) if output.reconstruction is None else (output.lengths, output.reconstruction)


def export_onnx(model: CapsNet, path: Path) -> float:
    """Write `model`, on the CPU and in evaluation mode, to `path`, whole or not at all.

    The file takes any number of images (B, C, H, H), float32 from 0 to 1, and returns `lengths` and, with a decoder,
    `reconstruction`. Returns the greatest difference between the outputs of file and model on random images. Raises
    ValueError if that exceeds `TOLERANCE`, ImportError without onnx, onnxscript or onnxruntime.
    """
    from onnxruntime import InferenceSession  # type: ignore[import-untyped]

    config = model.config
    shape = (config.channels, config.image_size, config.image_size)
    images = torch.rand((max(BATCHES), *shape), generator=torch.Generator().manual_seed(0))
    with whole_file(path) as temporary:
        torch.onnx.export(
            Exported(model).eval(),
            (images,),
            temporary,
            input_names=[IMAGES],
            output_names=OUTPUTS[: 2 if model.decoder else 1],
            dynamic_shapes={IMAGES: {0: torch.export.Dim("batch")}},
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        session = InferenceSession(temporary, providers=["CPUExecutionProvider"])
        difference = max(_difference(model, session, images[:size]) for size in BATCHES)
        if not difference <= TOLERANCE:
            raise ValueError(f"{path}: differs from the network by {difference:.2g}, expected at most {TOLERANCE}")
    return difference


@torch.no_grad()
def _difference(model: CapsNet, session: Any, images: Float[Tensor, "B C H H"]) -> float:
    output = model(images)
    expected = [output.lengths] if output.reconstruction is None else [output.lengths, output.reconstruction]
    got = session.run(None, {IMAGES: images.numpy()})
    return max(float((torch.from_numpy(one) - other).abs().max()) for one, other in zip(got, expected, strict=True))
