"""The network: an encoder, class capsules and a decoder, which its configuration chooses.

NETWORKS lists the configurations, one for each network of the library.

Axes: B batch, P classes in an image, C channels, H W height and width, I primary capsules, J classes, D pose size of a
class capsule, K of a primary capsule.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from capsnet.networks.attention import AttentionConfig
from capsnet.networks.dynamic import ModelConfig
from capsnet.networks.network_config import NetworkConfig

__all__ = ["NETWORKS", "AttentionConfig", "CapsNet", "ModelConfig", "NetworkConfig", "Output", "mask", "standardise"]

# Everything that trains, saves, scores or draws a network accepts each of these.
NETWORKS: dict[str, type[NetworkConfig]] = {config.network: config for config in (ModelConfig, AttentionConfig)}


class Output(NamedTuple):
    """What the network returns.

    `coupling` is None unless it was asked for; `reconstruction` is None without a decoder, or if no image was to be
    reconstructed.
    """

    capsules: Float[Tensor, "B J D"]
    lengths: Float[Tensor, "B J"]  # in [0, 1), to be read as the probability of each class
    coupling: Float[Tensor, "B I J"] | None
    reconstruction: Float[Tensor, "N *P C H W"] | None  # of all images, or of the first N as asked for
    primary: Float[Tensor, "B I K"]


class CapsNet(nn.Module):
    """A capsule network, built as its configuration says.

    The initial weights are drawn from torch's global generator, as in any module: seed or fork it before building.
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
        """Recognise images and reconstruct them.

        Args:
            images: Values in [0, 1].
            labels: The classes whose capsules the decoder reconstructs from (training). Without labels it takes the
                longest capsule (evaluation). With P labels per image there are P reconstructions, each of one capsule.
            with_coupling: Also return the coupling.
            decoded: Reconstruct only the first `decoded` images; all by default.

        Raises:
            ValueError: If the images have another size or number of channels than the configuration says.
        """
        expected = (self.config.channels, self.config.image_size, self.config.image_size)
        if images.shape[1:] != expected:
            raise ValueError(f"images: got {tuple(images.shape[1:])}, expected {expected} (channels, height, width)")
        primary = self.encoder(self.prepare(images))
        capsules, coupling = self.class_capsules(primary, with_coupling)
        lengths = torch.linalg.vector_norm(capsules, dim=2)
        reconstruction = None
        if self.decoder is not None and decoded != 0:
            classes = lengths.argmax(1) if labels is None else labels
            # A slice up to None takes all images.
            reconstruction = self.decode(capsules[:decoded], classes[:decoded]).to(images.dtype)
        return Output(capsules, lengths, coupling, reconstruction, primary)

    def decode(self, capsules: Float[Tensor, "B J D"], classes: Int[Tensor, " B *P"]) -> Float[Tensor, "B *P C H W"]:
        """Reconstruct each image from the capsule of its class alone. With P classes per image: once from each of them.

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
    """Set all capsules but the chosen one of each image to zero (Sabour et al. 2017, section 4.1)."""
    kept = chosen.unsqueeze(1) == torch.arange(capsules.shape[1], device=capsules.device)
    return capsules * kept.unsqueeze(2)


def standardise(images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """Give each image mean 0 and standard deviation 1 over all its channels and pixels.

    The deviation is taken to be at least 1 / sqrt(C H W) grey levels of 255. This is TensorFlow's
    per_image_standardization of images from 0 to 255, as in the authors' code. A constant image becomes zero.
    """
    axes = (1, 2, 3)
    least = 1 / (255**2 * images.shape[1:].numel())
    centred = images - images.mean(axes, keepdim=True)
    return centred * centred.square().mean(axes, keepdim=True).clamp(min=least).rsqrt()
