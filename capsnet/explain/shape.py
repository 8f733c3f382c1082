"""Measures of the shape in an image, in pixels and degrees. They show what a dimension of a capsule changes.

Axes: N images, C channels, H W height and width, M measures.
"""

import torch
from jaxtyping import Float
from torch import Tensor

# The measures that `measure` returns, in this order, and their units. Ink is the sum over all pixels at full contrast.
MEASURES = {
    "ink": "px",
    "width": "px",
    "height": "px",
    "slant": "°",
    "thickness": "px",
    "x position": "px",
    "y position": "px",
}
FAINT = 0.2  # share of the strongest pixel; anything fainter is haze of the decoder and no part of the shape


def measure(images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N M"]:
    """Return the `MEASURES` of images with values in [0, 1]; all are 0 for an empty image.

    With x to the right and y upwards from the centre of the image, and moments m of the ink about its own centre:
    - positions: the centre of the ink;
    - slant: atan(m_xy / m_yy), positive for a shape that leans to the right;
    - width and height: those of the rectangle with the same slant and the same second moments;
    - thickness: that of the bar with the same area and the same outline.
    The slant is that of Castro et al. 2019 (Morpho-MNIST). They measure width and height by a bounding parallelogram,
    and thickness along a skeleton, of images in black and white. Those measures change in steps, these smoothly.
    """
    ink = strokes(images)
    height, width = ink.shape[1:]
    x = torch.arange(width, device=ink.device, dtype=ink.dtype) - (width - 1) / 2
    y = (height - 1) / 2 - torch.arange(height, device=ink.device, dtype=ink.dtype)
    total = ink.sum((1, 2))
    share = ink / total.clamp(min=torch.finfo(ink.dtype).tiny)[:, None, None]
    x_mean, y_mean = (share * x).sum((1, 2)), (share * y[:, None]).sum((1, 2))
    from_x, from_y = x - x_mean[:, None], y - y_mean[:, None]
    xx = torch.einsum("nhw,nw,nw->n", share, from_x, from_x)
    xy = torch.einsum("nhw,nh,nw->n", share, from_y, from_x)
    yy = torch.einsum("nhw,nh,nh->n", share, from_y, from_y)
    lean = xy / yy.clamp(min=torch.finfo(ink.dtype).eps)
    # A rectangle of side a has the second moment a^2 / 12.
    sides = [(12 * moment.clamp(min=0)).sqrt() for moment in (xx - lean * xy, yy)]
    contrast = ink.amax((1, 2)).clamp(min=torch.finfo(ink.dtype).tiny)
    half, area = outline(ink) / contrast / 2, total / contrast
    # A bar of thickness t and length l has the area t l and the outline 2 (t + l).
    thickness = (half - (half**2 - 4 * area).clamp(min=0).sqrt()) / 2
    return torch.stack([total, *sides, lean.atan().rad2deg(), thickness, x_mean, y_mean], 1)


def strokes(images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N H W"]:
    """Return the difference of each pixel from the background, in the mean of the channels.

    The background is the median of the outermost pixels. Pixels fainter than `FAINT` of the strongest one become 0.
    """
    grey = images.mean(1)
    border = torch.cat([grey[:, [0, -1]].flatten(1), grey[:, 1:-1, [0, -1]].flatten(1)], 1)
    ink = (grey - border.quantile(0.5, 1, interpolation="lower")[:, None, None]).abs()
    return ink * (ink >= FAINT * ink.amax((1, 2), keepdim=True))


def outline(ink: Float[Tensor, "N H W"]) -> Float[Tensor, " N"]:
    """Return the length of all edges weighted by their height: the sum of the gradients between four pixels."""
    padded = torch.nn.functional.pad(ink, (1, 1, 1, 1))
    right, down = padded.diff(dim=2), padded.diff(dim=1)
    return torch.hypot((right[:, 1:] + right[:, :-1]) / 2, (down[:, :, 1:] + down[:, :, :-1]) / 2).sum((1, 2))
