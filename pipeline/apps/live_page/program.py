"""A network as the page runs it: a list of steps in JSON, and one file of weights.

A step is a dictionary: `does` names a function of `templates/network.js`, the other values are its settings, and
weights are references to the file. Images are laid out as rows, columns, channels there, and every weight as a matrix
of inputs and outputs, so that one product of matrices is enough for convolutions and linear layers.

Weights of more than `FEW` values become whole numbers from -127 to 127 with one scale for each output. The others stay
in float32.
"""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from capsnet.networks.attention import AttentionCapsules, DepthwiseCapsules
from capsnet.networks.capsnet import CapsNet
from capsnet.networks.layers import ClassCapsules, PrimaryCapsules, no_padding

FEW = 100_000  # values; rounding fewer saves little
LEVELS = 127  # of a rounded weight, on either side of 0
WORD = 4  # bytes; every array starts at a multiple of it

ProgramStep = dict[str, Any]


class Program(NamedTuple):
    """What the page reads of one network."""

    encode: list[ProgramStep]  # from the image to the primary capsules
    route: ProgramStep  # from those to the class capsules
    decode: list[ProgramStep]  # from all class capsules, all but one of them zero, to the image
    weights: bytes
    model: CapsNet  # a copy of the network with exactly the weights of the page


class Weights:
    """The file of weights while it is written."""

    def __init__(self) -> None:
        self.content = bytearray()

    def matrix(self, weight: Float[Tensor, "*axes"], inputs: int = 1) -> ProgramStep:
        """Append a weight as a matrix and return a reference to it; the first `inputs` axes count its rows.

        A large weight is rounded in place.
        """
        matrix = weight.flatten(0, inputs - 1).flatten(1)
        shape = list(matrix.shape)
        if matrix.numel() <= FEW:
            return {"shape": shape, "numbers": self._append(matrix)}
        scales = matrix.abs().amax(0).clamp(min=torch.finfo(torch.float32).tiny) / LEVELS
        levels = (matrix / scales).round()
        weight.copy_((levels * scales).view(weight.shape))
        return {"shape": shape, "numbers": self._append(levels.to(torch.int8)), "scales": self._append(scales)}

    def values(self, values: Float[Tensor, "*axes"]) -> ProgramStep:
        """Append an array in float32 and return a reference to it."""
        return {"shape": [values.numel()], "numbers": self._append(values)}

    def _append(self, values: Tensor) -> int:
        start = len(self.content)
        self.content += values.detach().contiguous().numpy().tobytes()
        self.content += bytes(-len(self.content) % WORD)
        return start


@torch.no_grad()
def build_program(model: CapsNet) -> Program:
    """Return the steps and the weights of a network.

    Raises ValueError for a network without a decoder, and for a layer that the page cannot run.
    """
    model = copy.deepcopy(model).float().eval()
    if model.decoder is None:
        raise ValueError("decoder: got none, expected one")
    weights = Weights()
    encode = [{"does": "standardise"}] if model.config.standardise else []
    encode += _steps(model.encoder, weights)
    (route,) = _steps(nn.Sequential(model.class_capsules), weights)
    return Program(encode, route, _steps(model.decoder, weights), bytes(weights.content), model)


def _steps(layers: nn.Module, weights: Weights) -> list[ProgramStep]:
    steps: list[ProgramStep] = []
    for layer in layers.children():
        if type(layer) not in LAYERS:
            raise ValueError(f"layers: got {type(layer).__name__}, which the page cannot run")
        steps += LAYERS[type(layer)](layer, weights)
    return steps


def _convolution(layer: nn.Conv2d, weights: Weights) -> list[ProgramStep]:
    if layer.padding not in ("valid", (0, 0)):
        raise ValueError(f"padding: got {layer.padding}, expected none: the page cannot run it")
    matrix = weights.matrix(layer.weight.permute(2, 3, 1, 0), 3)
    step = {"does": "convolve", "kernel": layer.kernel_size[0], "stride": layer.stride[0], "weights": matrix}
    return [step | {"bias": _bias(layer, weights)}]


def _transposed_convolution(layer: nn.ConvTranspose2d, weights: Weights) -> list[ProgramStep]:
    matrix = weights.matrix(layer.weight.permute(0, 2, 3, 1))
    step = {"does": "spread", "kernel": layer.kernel_size[0], "stride": layer.stride[0], "weights": matrix}
    return [step | {"bias": _bias(layer, weights)}]


def _linear(layer: nn.Linear, weights: Weights) -> list[ProgramStep]:
    return [{"does": "connect", "weights": weights.matrix(layer.weight.T), "bias": _bias(layer, weights)}]


def _bias(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear, weights: Weights) -> ProgramStep:
    assert layer.bias is not None
    return weights.values(layer.bias)


def _normalisation(layer: nn.BatchNorm1d | nn.BatchNorm2d, weights: Weights) -> list[ProgramStep]:
    """Return the multiplication and addition that batch normalisation is after training."""
    assert layer.running_mean is not None
    assert layer.running_var is not None
    factor = layer.weight / (layer.running_var + layer.eps).sqrt()
    shift = layer.bias - layer.running_mean * factor
    return [{"does": "scale", "factor": weights.values(factor), "shift": weights.values(shift)}]


def _rectifier(layer: nn.ReLU | nn.LeakyReLU, weights: Weights) -> list[ProgramStep]:
    return [{"does": "rectify", "slope": getattr(layer, "negative_slope", 0)}]


def _primary(layer: PrimaryCapsules, weights: Weights) -> list[ProgramStep]:
    if layer.padding is not no_padding or layer.scale != 1:
        raise ValueError("primary capsules: got a padding or a scale, expected none: the page cannot run them")
    return [
        *([{"does": "rectify", "slope": 0}] if layer.rectify else []),
        *_convolution(layer.conv, weights),
        *([] if isinstance(layer.norm, nn.Identity) else _normalisation(layer.norm, weights)),
        {"does": "capsules", "dim": layer.dim},
    ]


def _depthwise(layer: DepthwiseCapsules, weights: Weights) -> list[ProgramStep]:
    kernel, bias = weights.values(layer.weight.permute(1, 2, 0)), weights.values(layer.bias)
    return [{"does": "summarise", "dim": layer.dim, "weights": kernel, "bias": bias}]


def _dynamic_routing(layer: ClassCapsules, weights: Weights) -> list[ProgramStep]:
    if layer.leaky:
        raise ValueError("leaky_routing: got true, expected false: the page cannot run it")
    bias = None if layer.bias is None else weights.values(layer.bias)
    return [
        {
            "does": "route_by_agreement",
            "iterations": layer.iterations,
            "classes": layer.weight.shape[1],
            "weights": weights.matrix(layer.weight.permute(0, 2, 1, 3), 2),
            "bias": bias,
        }
    ]


def _self_attention(layer: AttentionCapsules, weights: Weights) -> list[ProgramStep]:
    return [
        {
            "does": "route_by_attention",
            "classes": layer.weight.shape[1],
            "weights": weights.matrix(layer.weight.permute(0, 2, 1, 3), 2),
            "prior": weights.values(layer.prior),
        }
    ]


def _unflatten(layer: nn.Unflatten, weights: Weights) -> list[ProgramStep]:
    channels, size, _ = layer.unflattened_size
    return [{"does": "unflatten", "channels": channels, "size": size}]


LAYERS: dict[type[nn.Module], Callable[..., list[ProgramStep]]] = {
    nn.Identity: lambda layer, weights: [],
    nn.Conv2d: _convolution,
    nn.ConvTranspose2d: _transposed_convolution,
    nn.Linear: _linear,
    nn.BatchNorm1d: _normalisation,
    nn.BatchNorm2d: _normalisation,
    nn.ReLU: _rectifier,
    nn.LeakyReLU: _rectifier,
    nn.Sigmoid: lambda layer, weights: [{"does": "squeeze"}],
    nn.Unflatten: _unflatten,
    PrimaryCapsules: _primary,
    DepthwiseCapsules: _depthwise,
    ClassCapsules: _dynamic_routing,
    AttentionCapsules: _self_attention,
}
