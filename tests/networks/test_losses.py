"""Losses per image, worked by hand.

Axes: B batch, J classes, C channels, H W height and width.
"""

import pytest
import torch
from torch import Tensor

from capsnet.networks.losses import RECONSTRUCTION_LOSSES, margin_loss, reconstruction_loss

# Two images of 2 channels x 1 x 2 pixels: the errors are 0.5, 0, -0.2, 1 and, in the second image, none.
IMAGES = torch.tensor([[[[0.5, 0.3]], [[0.8, 0.0]]], [[[0.1, 0.2]], [[0.3, 0.4]]]])
RECONSTRUCTION = torch.tensor([[[[1.0, 0.3]], [[0.6, 1.0]]], [[[0.1, 0.2]], [[0.3, 0.4]]]])
BY_HAND = {"l2": [0.25 + 0.04 + 1.0, 0.0], "l1": [0.5 + 0.2 + 1.0, 0.0]}


def test_margin_loss_gives_the_numbers_worked_by_hand() -> None:
    lengths = torch.tensor([0.95, 0.5, 0.05]).repeat(3, 1)
    expected = torch.tensor(
        [
            0.0 + 0.5 * 0.4**2 + 0.0,
            0.5 * 0.85**2 + 0.4**2 + 0.0,
            0.5 * 0.85**2 + 0.5 * 0.4**2 + 0.85**2,
        ]
    )
    torch.testing.assert_close(margin_loss(lengths, torch.tensor([0, 1, 2])), expected)


def test_margin_loss_is_zero_exactly_from_the_margins_on() -> None:
    label = torch.tensor([0])
    assert margin_loss(torch.tensor([[0.9, 0.1]]), label).item() == pytest.approx(0, abs=1e-12)
    assert margin_loss(torch.tensor([[0.89, 0.1]]), label).item() > 0
    assert margin_loss(torch.tensor([[0.9, 0.11]]), label).item() > 0


def test_margin_loss_of_an_image_does_not_depend_on_batch_mates() -> None:
    lengths = torch.rand(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([3, 1, 0, 2, 2])
    alone = torch.cat([margin_loss(lengths[i : i + 1], labels[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(margin_loss(lengths, labels), alone)


def test_gradient_of_the_margin_loss_is_exact() -> None:
    lengths = torch.tensor([[0.3, 0.7], [0.95, 0.02]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda given: margin_loss(given, torch.tensor([0, 1])), [lengths])


@pytest.mark.parametrize("name", RECONSTRUCTION_LOSSES)
def test_every_reconstruction_loss_is_summed_over_the_pixels_of_each_image(name: str) -> None:
    losses = RECONSTRUCTION_LOSSES[name](IMAGES, RECONSTRUCTION)
    torch.testing.assert_close(losses, torch.tensor(BY_HAND[name]))


def test_reconstruction_loss_grows_with_the_number_of_pixels() -> None:
    def black_against_white(size: int) -> Tensor:
        return reconstruction_loss(torch.zeros(1, 1, size, size), torch.ones(1, 1, size, size))

    assert black_against_white(28).item() == 784
    assert black_against_white(56).item() == 4 * 784
