"""The network: an encoder, class capsules, a decoder, put together and run.

Which ones is in its configuration: NETWORKS has one for each network of the library.

Axes: B batch, P classes in an image, C channels, H W height and width, I primary capsules, J classes, D pose size of a
class capsule.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from capsnet.networks.attention import AttentionConfig
from capsnet.networks.config import NetworkConfig
from capsnet.networks.dynamic import ModelConfig

__all__ = ["NETWORKS", "AttentionConfig", "CapsNet", "ModelConfig", "NetworkConfig", "Output", "mask", "standardise"]

# Whatever runs, saves, trains or draws a network takes each of these.
NETWORKS: dict[str, type[NetworkConfig]] = {config.network: config for config in (ModelConfig, AttentionConfig)}


class Output(NamedTuple):
    """What the network returns; `coupling` is None unless asked for, `reconstruction` without a decoder."""

    capsules: Float[Tensor, "B J D"]
    lengths: Float[Tensor, "B J"]  # in [0, 1): how sure the network is of each class
    coupling: Float[Tensor, "B I J"] | None
    reconstruction: Float[Tensor, "N *P C H W"] | None  # of the first N images that it was asked for, or of all


class CapsNet(nn.Module):
    """A capsule network: what its configuration puts together.

    Weights are drawn from torch's global generator, as in any module: seed it, or fork it, around the constructor.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.prepare: Callable[[Tensor], Tensor] = standardise if config.standardise else nn.Identity()
        self.encoder = config.build_encoder()
        self.class_capsules = config.build_class_capsules()
        self.decoder = config.build_decoder()
        config.initialise(self.encoder, self.class_capsules, self.decoder)

    def forward(
        self,
        images: Float[Tensor, "B C H W"],
        labels: Int[Tensor, " B *P"] | None = None,
        with_coupling: bool = False,
        decoded: int | None = None,
    ) -> Output:
        """Recognise images with values in [0, 1], and reconstruct them, or the first `decoded` of them alone.

        The decoder sees the capsule of `labels` (training) or, without labels, the longest one (evaluation); several
        labels an image give as many reconstructions, each of one capsule alone.
        Raises ValueError for images of another size or number of channels.
        """
        expected = (self.config.channels, self.config.image_size, self.config.image_size)
        if images.shape[1:] != expected:
            raise ValueError(f"images: got {tuple(images.shape[1:])}, expected {expected} (channels, height, width)")
        capsules, coupling = self.class_capsules(self.encoder(self.prepare(images)), with_coupling)
        lengths = torch.linalg.vector_norm(capsules, dim=2)
        chosen = lengths.argmax(1) if labels is None else labels
        shown, classes = (capsules, chosen) if decoded is None else (capsules[:decoded], chosen[:decoded])
        reconstruction = self.decode(shown, classes).to(images.dtype) if self.decoder else None
        return Output(capsules, lengths, coupling, reconstruction)

    def decode(self, capsules: Float[Tensor, "B J D"], classes: Int[Tensor, " B *P"]) -> Float[Tensor, "B *P C H W"]:
        """Reconstruct from the capsule of `classes` alone; of several classes an image from each alone, in one batch.

        Raises ValueError without a decoder.
        """
        if self.decoder is None:
            raise ValueError("decode: got a network without a decoder, expected one with")
        if classes.ndim > 1:
            each = self.decode(capsules.repeat_interleave(classes.shape[1], 0), classes.flatten())
            return each.view(*classes.shape, *each.shape[1:])
        images: Tensor = self.decoder(mask(capsules, classes).flatten(1))
        return images


def mask(capsules: Float[Tensor, "B J D"], chosen: Int[Tensor, " B"]) -> Float[Tensor, "B J D"]:
    """Zero all capsules but the chosen one of each image (Sabour et al. 2017, section 4.1)."""
    kept = chosen.unsqueeze(1) == torch.arange(capsules.shape[1], device=capsules.device)
    return capsules * kept.unsqueeze(2)


def standardise(images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """Give each image mean 0 and standard deviation 1 over all its channels and pixels.

    The deviation is taken to be at least 1 / sqrt(C H W) of one of 255 grey levels, as by TensorFlow's
    per_image_standardization of images from 0 to 255 in the authors' code; a constant image becomes zero.
    """
    axes = (1, 2, 3)
    least = 1 / (255**2 * images.shape[1:].numel())
    centred = images - images.mean(axes, keepdim=True)
    return centred * centred.square().mean(axes, keepdim=True).clamp(min=least).rsqrt()
