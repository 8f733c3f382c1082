"""A rectified convolution overwrites its images with their gradient only if nothing else can read them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from convolutions import directly, images_and_kernels
from torch import Tensor
from trainings import Data, trainer_on

from capsnet.kernels import convolution, fourier
from capsnet.kernels.fourier import fourier_conv2d
from capsnet.networks.capsnet import ModelConfig
from capsnet.networks.layers import PADDINGS
from capsnet.training.training_config import TrainingConfig

pytestmark = pytest.mark.usefixtures("one_thread")
Look = Callable[[Tensor], object]
# Ways to see the images after the backward pass, or again in it.
LOOKS: dict[str, Look] = {
    "the images": lambda features: features,
    "without their graph": lambda features: features.detach(),
    "a part of them": lambda features: features[:, 1:],
    "as an array": lambda features: features.detach().numpy(),
    "their memory": lambda features: features.untyped_storage(),
    "their gradient": lambda features: features.retain_grad() or features,
}


def rectified(
    leaf: Tensor, weight: Tensor, make: Callable[[Tensor], Tensor], look: Look = lambda features: None
) -> Any:
    """Make features of a leaf that nobody keeps, convolve their ReLU, and return that and what `look` keeps."""
    features = make(leaf)
    kept = look(features)
    return fourier_conv2d(features, weight, rectify=True), kept


def twice(leaf: Tensor) -> Tensor:
    return leaf * 2


def gradient_by_definition(make: Callable[[Tensor], Tensor], leaf: Tensor, weight: Tensor) -> Tensor:
    (expected,) = torch.autograd.grad(directly(make(leaf).relu(), weight, 1).sum(), leaf)
    return expected


def test_images_that_nobody_sees_any_more_give_their_memory_to_their_gradient() -> None:
    leaf, weight = (each.requires_grad_() for each in images_and_kernels(2, 3, 4, 9, 3))
    gradients: list[Tensor] = []
    outputs, place = rectified(
        leaf, weight, twice, lambda features: features.register_hook(gradients.append) and features.data_ptr()
    )
    outputs.sum().backward()
    assert gradients[0].data_ptr() == place
    assert leaf.grad is not None
    torch.testing.assert_close(leaf.grad, gradient_by_definition(twice, leaf, weight), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_whoever_keeps_the_images_sees_them_as_they_were(look: Look) -> None:
    leaf, weight = (each.requires_grad_() for each in images_and_kernels(2, 3, 4, 9, 3))
    gradients: list[Tensor] = []
    addresses: list[int] = []

    def watched(features: Tensor) -> object:
        addresses.append(features.data_ptr())
        features.register_hook(gradients.append)
        return look(features)

    outputs, kept = rectified(leaf, weight, twice, watched)
    outputs.sum().backward()
    assert gradients[0].data_ptr() != addresses[0]
    if isinstance(kept, Tensor):
        torch.testing.assert_close(kept, look(twice(leaf)), rtol=0, atol=0)
    torch.testing.assert_close(leaf.grad, gradient_by_definition(twice, leaf, weight), rtol=1e-12, atol=1e-12)


def test_a_gradient_that_is_retained_stands_beside_the_images() -> None:
    leaf, weight = (each.requires_grad_() for each in images_and_kernels(2, 3, 4, 9, 3))
    outputs, features = rectified(leaf, weight, twice, LOOKS["their gradient"])
    outputs.sum().backward()
    assert torch.equal(features, 2 * leaf)
    torch.testing.assert_close(2 * features.grad, leaf.grad)


@pytest.mark.parametrize("make", [torch.exp, torch.relu, torch.sigmoid], ids=["exp", "ReLU", "sigmoid"])
def test_what_made_the_images_may_need_them_for_its_own_gradient(make: Callable[[Tensor], Tensor]) -> None:
    leaf, weight = (each.requires_grad_() for each in images_and_kernels(2, 3, 4, 9, 3))
    rectified(leaf, weight, make)[0].sum().backward()
    torch.testing.assert_close(leaf.grad, gradient_by_definition(make, leaf, weight), rtol=1e-12, atol=1e-12)


def test_a_graph_that_is_kept_gives_its_gradient_as_often_as_it_is_asked() -> None:
    leaf, weight = (each.requires_grad_() for each in images_and_kernels(2, 3, 4, 9, 3))
    outputs, _ = rectified(leaf, weight, twice)
    for number in (1, 2):
        outputs.sum().backward(retain_graph=number == 1)
        expected = number * gradient_by_definition(twice, leaf, weight)
        torch.testing.assert_close(leaf.grad, expected, rtol=1e-12, atol=1e-12)
    with pytest.raises(RuntimeError, match="second time"):
        outputs.sum().backward()


def test_images_that_somebody_changes_in_between_are_noticed() -> None:
    leaf, weight = (each.requires_grad_() for each in images_and_kernels(2, 3, 4, 9, 3))
    outputs, features = rectified(leaf, weight, twice, LOOKS["the images"])
    features.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        outputs.sum().backward()


@pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "batch norm"])
@pytest.mark.parametrize("padding", PADDINGS)
def test_a_training_takes_the_memory_and_a_hook_on_a_layer_keeps_it(
    batch_norm: bool,
    padding: str,
    tiny_model: ModelConfig,
    tiny_training: TrainingConfig,
    tiny_data: Data,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With zeros around them the features are copied: it is the copy whose memory is taken."""
    monkeypatch.setattr(convolution, "WORTH_IT", 0.0)
    taken: list[bool] = []
    alone = fourier._is_unused
    monkeypatch.setattr(fourier, "_is_unused", lambda saved: taken.append(alone(saved)) or taken[-1])
    config = replace(tiny_model, batch_norm=batch_norm, padding=padding)
    weights = []
    for hooked in (False, True):
        taken.clear()
        seed = trainer_on(tiny_data, config, tiny_training)
        kept: list[tuple[Tensor, Tensor]] = []
        if hooked:
            seed.model.encoder[1].register_forward_hook(
                lambda module, given, made, kept=kept: kept.append((made, made.detach().clone()))
            )
        steps = list(seed.epoch(1, [16, 16], [0.01, 0.01], 0.001))
        assert taken == [not hooked or padding == "same"] * len(steps)
        assert all(torch.equal(made.detach(), as_it_was) for made, as_it_was in kept)
        assert len(kept) == hooked * len(steps)
        weights.append(seed.model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("by_place", [False, True], ids=["as they are", "by their place in a list"])
def test_hooks_that_keep_what_is_saved_see_the_images_as_they_were(by_place: bool) -> None:
    """A profiler or a debugger may keep every tensor that is saved for the backward pass."""
    leaf, weight = (each.requires_grad_() for each in images_and_kernels(2, 3, 4, 9, 3))
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Any:
        kept.append(tensor)
        return len(kept) - 1 if by_place else tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda packed: kept[packed] if by_place else packed):
        outputs, _ = rectified(leaf, weight, twice)
    before = [tensor.detach().clone() for tensor in kept]
    outputs.sum().backward()
    assert any(torch.equal(tensor, 2 * leaf) for tensor in kept)
    assert all(torch.equal(tensor, as_it_was) for tensor, as_it_was in zip(kept, before, strict=True))
    torch.testing.assert_close(leaf.grad, gradient_by_definition(twice, leaf, weight), rtol=1e-12, atol=1e-12)
