"""What can be measured of a shape in a picture, to name in pixels and degrees what a capsule's dimension does.

Axes: N images, C channels, H W height and width, M measures.
"""

import torch
from jaxtyping import Float
from torch import Tensor

# What `measure` returns, in this order, and its unit: ink is as many pixels as would hold it at full contrast.
MEASURES = {
    "ink": "px",
    "width": "px",
    "height": "px",
    "slant": "°",
    "thickness": "px",
    "x position": "px",
    "y position": "px",
}
FAINT = 0.2  # of the strongest pixel of an image: less is the haze that decoders leave, and no part of the shape


def measure(images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N M"]:
    """Return the `MEASURES` of images with values in [0, 1]; of an empty image all are 0.

    With x to the right and y upwards from the centre of the image, and moments m of the ink about its own centre:
    - positions: the centre of the ink;
    - slant: atan(m_xy / m_yy), positive for a shape that leans to the right;
    - width and height: of the rectangle that, leant as far, has the same second moments;
    - thickness: of the bar that has the same area and the same outline.
    The slant is that of Castro et al. 2019 (Morpho-MNIST). They take the width and height of a bounding parallelogram
    and the thickness along a skeleton, of images in black and white, which go in steps; these change smoothly.
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
    """Return how far each pixel is from the background: the median of the outermost ones, in the mean of the channels.

    What is fainter than `FAINT` of the strongest is 0.
    """
    grey = images.mean(1)
    border = torch.cat([grey[:, [0, -1]].flatten(1), grey[:, 1:-1, [0, -1]].flatten(1)], 1)
    ink = (grey - border.quantile(0.5, 1, interpolation="lower")[:, None, None]).abs()
    return ink * (ink >= FAINT * ink.amax((1, 2), keepdim=True))


def outline(ink: Float[Tensor, "N H W"]) -> Float[Tensor, " N"]:
    """Return the length of the edges, each times its height: the sum of the gradient between four pixels."""
    padded = torch.nn.functional.pad(ink, (1, 1, 1, 1))
    right, down = padded.diff(dim=2), padded.diff(dim=1)
    return torch.hypot((right[:, 1:] + right[:, :-1]) / 2, (down[:, :, 1:] + down[:, :, :-1]) / 2).sum((1, 2))
