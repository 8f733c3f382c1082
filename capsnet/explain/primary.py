"""Reconstructions from primary capsules, by a decoder trained for a frozen network.

The reference study (github.com/ethanleet/CapsNet) shows such images. It says in one sentence how they were made: each
primary capsule is scaled by its coupling to the winning class. Its code for that was never published.

Axes: N images of an epoch, B batch, C channels, H W height and width, I primary capsules, K their pose size, J classes.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from capsnet.evaluation.recognition import recognise, seen
from capsnet.networks.capsnet import CapsNet
from capsnet.networks.decoders import fc_decoder
from capsnet.networks.losses import reconstruction_loss
from capsnet.networks.saved import described, with_weights
from capsnet.tensors import read_tensors, write_tensors
from capsnet.training.seeds import generator_for

KIND = "primary decoder"


class Routed(NamedTuple):
    """The primary capsules of images, and their coupling to one class of each image."""

    primary: Float[Tensor, "B I K"]
    coupling: Float[Tensor, "B I"]
    classes: Int64[Tensor, " B"]

    @property
    def scaled(self) -> Float[Tensor, "B I K"]:
        """The primary capsules times their coupling: the input of the decoder."""
        return self.primary * self.coupling.unsqueeze(2)

    @property
    def strength(self) -> Float[Tensor, "B I"]:
        """The lengths of the scaled capsules."""
        lengths: Tensor = self.scaled.norm(dim=2)
        return lengths


@dataclass(frozen=True)
class PrimaryShape:
    """The architecture of a decoder of primary capsules."""

    capsules: int  # I
    dim: int  # K
    channels: int  # of the image
    image_size: int  # height and width in pixels
    hidden: tuple[int, ...]  # widths of the hidden layers


@dataclass(frozen=True)
class PrimaryTraining:
    """The settings of the training of such a decoder."""

    hidden: tuple[int, ...]
    epochs: int
    batch_size: int
    lr: float  # Adam's
    subsets: bool  # hide capsules at random, so that the decoder learns to reconstruct from a few of them


class PrimaryDecoder(nn.Module):
    """The fully connected decoder of Sabour et al. 2017, with all primary capsules as its input."""

    def __init__(self, shape: PrimaryShape) -> None:
        super().__init__()
        self.shape = shape
        self.layers = fc_decoder(
            shape.capsules, shape.dim, shape.channels, shape.image_size, hidden=shape.hidden, base=0, batch_norm=False
        )

    def forward(self, scaled: Float[Tensor, "B I K"]) -> Float[Tensor, "B C H W"]:
        images: Tensor = self.layers(scaled.flatten(1))
        return images


def route(model: CapsNet, images: UInt8[Tensor, "B C H W"], classes: Int64[Tensor, " B"] | None = None) -> Routed:
    """Return the primary capsules of images and their coupling to `classes`, or to the winning class of each image."""
    output = recognise(model, images, with_coupling=True, decoded=0).output
    assert output.coupling is not None
    chosen = output.lengths.argmax(1) if classes is None else classes
    return Routed(output.primary, output.coupling[torch.arange(len(images), device=images.device), :, chosen], chosen)


def train_decoder(
    model: CapsNet,
    config: PrimaryTraining,
    images: UInt8[Tensor, "N C H W"],
    labels: Int64[Tensor, " N"],
    seed: int,
    *,
    log: Callable[[int, Mapping[str, float]], None] = lambda epoch, values: None,
) -> tuple[PrimaryDecoder, list[dict[str, float | int]]]:
    """Train a decoder on the primary capsules of a network in evaluation mode, which is not changed.

    Each capsule is scaled by its coupling to the true class. The images are not shifted and therefore encoded only
    once, so that N x I x K numbers lie on the device: 2.2 GB for MNIST and the paper's network.

    With `config.subsets`, the decoder sees all capsules of about half of the images of a step. Of each other image it
    sees a random share, and the others are zero. The share is I^-x with x uniform from 0 to 1: from all capsules down
    to a single one.

    Returns the decoder, and a row of `history.csv` for each epoch.
    """
    encoded = _encode(model, images, labels)
    decoder = _initialise(model, config, encoded.shape[1], seed).to(images.device)
    optimizer = torch.optim.Adam(decoder.parameters(), config.lr, fused=True)
    history: list[dict[str, float | int]] = []
    for epoch in range(1, config.epochs + 1):
        order, subsets = (generator_for(seed, KIND, use, epoch, device=images.device) for use in ("order", "subsets"))
        total = torch.zeros((), dtype=torch.float64, device=images.device)
        for batch in torch.randperm(len(images), generator=order, device=images.device).split(config.batch_size):
            scaled = encoded[batch]
            if config.subsets:
                scaled = scaled * _kept(scaled, subsets).unsqueeze(2)
            losses = reconstruction_loss(seen(model, images[batch]), decoder(scaled))
            optimizer.zero_grad(set_to_none=True)
            losses.mean().backward()
            optimizer.step()
            total += losses.detach().sum()
        history.append({"epoch": epoch, "train_rloss": total.item() / len(images)})
        log(epoch, {"train_rloss": history[-1]["train_rloss"]})
    return decoder.eval(), history


def save_decoder(path: Path, decoder: PrimaryDecoder, facts: Mapping[str, Any]) -> None:
    """Write weights, architecture and `facts`, whatever JSON can hold, to `path`: whole or not at all."""
    write_tensors(path, decoder.state_dict(), {"kind": KIND, "shape": asdict(decoder.shape), **facts})


def load_decoder(path: Path) -> PrimaryDecoder:
    """Read a decoder onto the CPU, in evaluation mode. Raises like `capsnet.load`."""
    header, tensors = read_tensors(path, KIND)
    try:
        shape = described(PrimaryShape, header.get("shape"), len(tensors))
    except ValueError as error:
        raise ValueError(f"{path}: damaged, or of another version of capsnet: shape: {error}") from error
    return with_weights(lambda: PrimaryDecoder(shape), tensors, path)


def _encode(
    model: CapsNet, images: UInt8[Tensor, "N C H W"], labels: Int64[Tensor, " N"], batch_size: int = 256
) -> Float[Tensor, "N I K"]:
    encoded = torch.empty(len(images), model.config.num_primary, model.config.layout.dim, device=images.device)
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        encoded[part] = route(model, images[part], labels[part]).scaled
    return encoded


def _initialise(model: CapsNet, config: PrimaryTraining, capsules: int, seed: int) -> PrimaryDecoder:
    of = model.config
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(generator_for(seed, KIND, "initialisation").initial_seed())
        return PrimaryDecoder(PrimaryShape(capsules, of.layout.dim, of.channels, of.image_size, config.hidden))


def _kept(scaled: Float[Tensor, "B I K"], generator: torch.Generator) -> Float[Tensor, "B I"]:
    """Draw which capsules of each image the decoder sees: 1 for those, 0 for the others."""
    number, capsules = scaled.shape[:2]
    drawn = torch.rand(number, 1, generator=generator, device=scaled.device)
    shares = capsules ** -(2 * drawn - 1).clamp(min=0)
    return (torch.rand(number, capsules, generator=generator, device=scaled.device) < shares).to(scaled.dtype)
