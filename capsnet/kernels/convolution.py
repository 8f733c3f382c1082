"""Convolution of square images, by the method that is fastest for their device and sizes.

Axes: B batch, C input channels, N output channels, H input pixels, S kernel pixels and O output pixels along a side.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from capsnet.kernels.fourier import fourier_conv2d
from capsnet.kernels.fourier_matrices import num_products
from capsnet.kernels.unfolded import unfolded_conv2d

# The Fourier domain reads and writes memory more often. It is faster if it saves at least this factor of
# multiplications.
WORTH_IT = 2.0


def conv2d(
    inputs: Float[Tensor, "B C H H"],
    weight: Float[Tensor, "N C S S"],
    bias: Float[Tensor, " N"] | None = None,
    stride: int = 1,
    *,
    rectify: bool = False,
) -> Float[Tensor, "B N O O"]:
    """Convolve square images as `torch.nn.functional.conv2d` does, in the fastest way for their device.

    On a CPU that is the Fourier domain for large kernels and batches, on a GPU one matrix product
    (`capsnet.kernels.unfolded`). With `rectify` the ReLU of the images is convolved. Under autocast the products are in
    its type, and so is the result.
    """
    if inputs.is_cuda:
        outputs = unfolded_conv2d(inputs.relu() if rectify else inputs, weight, stride)
    elif inputs.device.type == "cpu" and saved_factor(inputs.shape, weight.shape, stride) >= WORTH_IT:
        outputs = fourier_conv2d(inputs, weight, stride, rectify=rectify)
    else:
        return torch_conv2d(inputs, weight, bias, stride, rectify=rectify)
    return outputs if bias is None else outputs + bias.to(outputs.dtype)[:, None, None]


def torch_conv2d(
    inputs: Float[Tensor, "B C H H"],
    weight: Float[Tensor, "N C S S"],
    bias: Float[Tensor, " N"] | None = None,
    stride: int = 1,
    *,
    rectify: bool = False,
) -> Float[Tensor, "B N O O"]:
    """Convolve like `conv2d`, with torch's own operations only."""
    return functional.conv2d(inputs.relu() if rectify else inputs, weight, bias, stride)


def saved_factor(images: torch.Size, weight: torch.Size, stride: int) -> float:
    """Return the multiplications of the definition divided by those of the Fourier domain.

    It is 0 for kernels larger than the image, and for those smaller than the stride.
    """
    batch, channels, size, _ = images
    outputs, _, kernel, _ = weight
    side = (size - kernel) // stride + 1
    if side < 1 or kernel < stride:
        return 0.0
    frequencies = math.ceil(size / stride) ** 2
    transforms = size**2 * batch * channels + kernel**2 * channels * outputs + side**2 * batch * outputs
    fourier = num_products(frequencies) * stride**2 * batch * channels * outputs + frequencies * transforms
    return side**2 * kernel**2 * batch * channels * outputs / fourier
