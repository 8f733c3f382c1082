"""A network as an ONNX file: pixels of images in, lengths of class capsules and reconstructions out.

Axes: B batch, C channels, H height and width.
"""

from collections.abc import Callable
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


class Plain(nn.Module):
    """A network in the operations that ONNX knows: a layer that has a method `plain` is called by that."""

    def __init__(self, model: CapsNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Float[Tensor, "B C H H"]) -> tuple[Tensor, ...]:
        model = self.model
        features = model.prepare(images)
        for layer in model.encoder:
            features = _plainly(layer)(features)
        capsules, _ = _plainly(model.class_capsules)(features)
        lengths = torch.linalg.vector_norm(capsules, dim=2)
        return (lengths, model.decode(capsules, lengths.argmax(1))) if model.decoder else (lengths,)


def _plainly(layer: nn.Module) -> Callable[[Tensor], Any]:
    plain: Callable[[Tensor], Any] = getattr(layer, "plain", layer)
    return plain


def export_onnx(model: CapsNet, path: Path) -> float:
    """Write `model`, on the CPU and in evaluation mode, to `path`, whole or not at all.

    The file takes images (B, C, H, H) of any number, float32 from 0 to 1, and gives `lengths` and, where there is a
    decoder, `reconstruction`. It is compared with the model on random images; the greatest difference is returned.
    Raises ValueError if it exceeds `TOLERANCE`, ImportError without onnx, onnxscript or onnxruntime.
    """
    from onnxruntime import InferenceSession  # type: ignore[import-untyped]

    config = model.config
    shape = (config.channels, config.image_size, config.image_size)
    images = torch.rand((max(BATCHES), *shape), generator=torch.Generator().manual_seed(0))
    with whole_file(path) as temporary:
        torch.onnx.export(
            Plain(model).eval(),
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
