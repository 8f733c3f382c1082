"""The protocols in params.yaml: what their settings do, and that each trains, repeats itself and resumes.

Axes: B batch, C channels, H W height and width, J classes.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from protocols import ATTENTION, PARAMS, PROTOCOLS, narrow, tensors
from tiny_project import SHAPES
from trainings import killed_after

from capsnet.data.augmentation import (
    add_brightness,
    change_contrast,
    cut,
    draw_between,
    draw_corners,
    draw_flips,
    draw_shifts,
    flip_left_right,
    shift,
)
from capsnet.evaluation.recognition import evaluate, seen
from capsnet.networks.capsnet import CapsNet, ModelConfig
from capsnet.networks.losses import margin_loss, reconstruction_loss
from capsnet.training.loop import Trained, train
from capsnet.training.seeds import generator_for, initialise
from capsnet.training.training_config import TrainingConfig
from pipeline.drawing.reconstructions import reconstruct
from pipeline.settings.params import override

pytestmark = pytest.mark.usefixtures("one_thread")

PROTOCOL = pytest.mark.parametrize("name", PROTOCOLS)
EVERY_NETWORK = pytest.mark.parametrize("name", [*PROTOCOLS, *ATTENTION])


def assert_equal_to_the_bit(one: Trained, other: Trained) -> None:
    assert json.dumps(one.history) == json.dumps(other.history)
    for name, tensor in one.model.state_dict().items():
        assert torch.equal(tensor, other.model.state_dict()[name]), name


# What the settings do.


def test_the_weighted_margin_loss_is_the_one_of_the_authors_code_worked_by_hand() -> None:
    """Two images, five classes: half the cost of each class, averaged over images and classes."""
    lengths = torch.tensor([[0.8, 0.3, 0.0, 0.1, 0.05], [0.2, 0.95, 0.0, 0.5, 0.1]])
    labels = torch.tensor([0, 1])
    first = 0.5 * (0.9 - 0.8) ** 2 + 0.25 * (0.3 - 0.1) ** 2
    second = 0.25 * (0.2 - 0.1) ** 2 + 0.25 * (0.5 - 0.1) ** 2
    weight = PARAMS.runs["smallnorb-sabour"].margin_weight
    assert (weight * margin_loss(lengths, labels)).mean().item() == pytest.approx((first + second) / (2 * 5))


@pytest.mark.parametrize(("margin_weight", "clip_pixels"), [(1.0, True), (0.05, False)])
def test_a_step_takes_the_augmented_crop_for_image_and_target_and_weighs_the_margin_loss(
    margin_weight: float, clip_pixels: bool, tiny_model: ModelConfig, tiny_training: TrainingConfig
) -> None:
    """One batch an epoch, worked out here from the streams of the seed; the target stays within 0 and 1 either way."""
    images, labels = tensors((26, 1, 3), 12)
    config = replace(
        tiny_training,
        epochs=2,
        batch_size=12,
        margin_weight=margin_weight,
        alpha=0.02,
        max_shift=2,
        flip=True,
        brightness=63.0,
        contrast=(0.2, 1.8),
        clip_pixels=clip_pixels,
    )
    trained = train(tiny_model, config, images, labels, 3)

    model = initialise(tiny_model, 3)
    optimizer = torch.optim.Adam(model.parameters(), 0.003)
    for epoch, row in enumerate(trained.history, 1):
        order = torch.randperm(12, generator=generator_for(3, "order", epoch))
        moved = shift(images[order], draw_shifts(12, 2, generator_for(3, "augmentation", epoch)))
        moved = cut(moved, draw_corners(12, 6, generator_for(3, "crop", epoch)), 20)
        pixels = flip_left_right(moved, draw_flips(12, generator_for(3, "flip", epoch))) / 255
        pixels = add_brightness(pixels, draw_between(12, -63 / 255, 63 / 255, generator_for(3, "brightness", epoch)))
        pixels = change_contrast(pixels, draw_between(12, 0.2, 1.8, generator_for(3, "contrast", epoch)))
        target = pixels.clamp(0, 1)
        assert not torch.equal(pixels, target)
        output = model(target if clip_pixels else pixels, labels[order])
        mloss = margin_loss(output.lengths, labels[order]).mean()
        rloss = reconstruction_loss(target, output.reconstruction).mean()
        loss = margin_weight * mloss + 0.02 * rloss
        assert row["train_mloss"] == pytest.approx(mloss.item(), rel=1e-4)
        assert row["train_rloss"] == pytest.approx(rloss.item(), rel=1e-4)
        assert row["train_loss"] == pytest.approx(loss.item(), rel=1e-4)
        for group in optimizer.param_groups:
            group["lr"] = 0.003 * config.lr_decay ** ((epoch - 1) / config.lr_decay_steps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for ours, plain in zip(trained.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("size", [20, 21, 24, 33])
def test_evaluation_sees_the_centre(size: int, tiny_model: ModelConfig) -> None:
    images, labels = tensors((size, 1, 3), 9)
    model = CapsNet(tiny_model).eval()
    first = (size - 20) // 2
    centre = images[:, :, first : first + 20, first : first + 20]
    assert torch.equal(seen(model, images), centre / 255)
    assert evaluate(model, images, labels)[:3] == evaluate(model, centre.contiguous(), labels)[:3]


def test_evaluation_does_not_depend_on_what_lies_outside_the_centre(tiny_model: ModelConfig) -> None:
    images, labels = tensors((30, 1, 3), 9)
    model = CapsNet(tiny_model)
    framed = torch.full_like(images, 255)
    framed[:, :, 5:25, 5:25] = images[:, :, 5:25, 5:25]
    assert evaluate(model, framed, labels)[:3] == evaluate(model, images, labels)[:3]


def test_images_smaller_than_the_network_s_are_refused(tiny_model: ModelConfig) -> None:
    images, labels = tensors((19, 1, 3), 3)
    with pytest.raises(ValueError, match=r"images: got \(19, 19\) pixels, expected at least 20"):
        evaluate(CapsNet(tiny_model), images, labels)


def test_a_crop_larger_than_the_images_is_refused_with_both_sizes() -> None:
    with pytest.raises(ValueError, match="crop: got 32, expected at most 28, the pixels of smallnorb-mono"):
        PARAMS.runs["smallnorb-baseline"].model(28, 1, 5)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("contrast=[1.8, 0.2]", r"contrast: got \[1.8, 0.2\], expected the lowest factor first"),
        ("contrast=[-0.5, 1.0]", "contrast.0: got -0.5"),
        ("contrast=0.5", "contrast: got 0.5"),
        ("clip_pixels=1", "clip_pixels: got 1, expected a valid boolean"),
        ("brightness=-1", "brightness: got -1"),
        ("brightness=256", "brightness: got 256"),
        ("brightness_change=multiply", "brightness_change: got 'multiply', expected 'add' or 'scale'"),
        ("crop=-1", "crop: got -1"),
        ("margin_weight=0", "margin_weight: got 0"),
        ("primary_scale=0", "primary_scale: got 0"),
        ("padding=SAME", "padding: got 'SAME', expected 'valid' or 'same'"),
        ("initialisation=xavier", "initialisation: got 'xavier', expected 'torch', 'reference' or 'sabour'"),
        ("seeds=[-1]", "seeds.0: got -1"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(setting: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        override(PARAMS.runs["mnist-fc"], [setting], "runs.mnist-fc")


def test_a_run_has_the_seeds_of_the_project_unless_it_names_its_own() -> None:
    assert PARAMS.seeds_of(PARAMS.runs["mnist-fc"]) == PARAMS.seeds
    assert PARAMS.seeds_of(PARAMS.runs["cifar10-sabour"]) == tuple(range(7))


# That each trains.


@EVERY_NETWORK
def test_a_protocol_repeats_itself_to_the_bit_and_after_a_resumption(name: str, tmp_path: Path) -> None:
    run = narrow(name, validation=0.2)
    shape = SHAPES[run.dataset]
    model, config = run.model(*shape), run.training()
    images, labels = tensors(shape, 23)
    unbroken = train(model, config, images, labels, 0)
    assert_equal_to_the_bit(train(model, config, images, labels, 0), unbroken)
    state = tmp_path / "state.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(model, config, images, labels, 0, checkpoint=state, log=killed_after(1))
    assert_equal_to_the_bit(train(model, config, images, labels, 0, resume=state), unbroken)
    assert train(model, config, images, labels, 1).history != unbroken.history


@EVERY_NETWORK
def test_a_protocol_lowers_the_loss_of_what_it_trains_on(name: str) -> None:
    # The authors' rate is for networks and trainings of another size.
    run = narrow(name, epochs=12, lr=0.02)
    shape = SHAPES[run.dataset]
    history = train(run.model(*shape), run.training(), *tensors(shape, 24), 0).history
    losses = [row["train_loss"] or 0.0 for row in history]
    assert sum(losses[-3:]) / 3 < 0.9 * losses[0]


def test_figures_show_what_a_network_with_a_crop_sees() -> None:
    run = narrow("smallnorb-sabour")
    shape = SHAPES[run.dataset]
    images, _ = tensors(shape, 3)
    before, after = reconstruct(CapsNet(run.model(*shape)).eval(), "label", images)
    assert np.array_equal(before, (images[:, :, 8:40, 8:40] / 255).numpy())
    assert after.images.shape == before.shape


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@EVERY_NETWORK
def test_a_protocol_repeats_itself_on_the_gpu(name: str) -> None:
    from pipeline.runtime.device import configure_torch

    device = configure_torch("cuda", 1).device
    run = narrow(name)
    shape = SHAPES[run.dataset]
    images, labels = (tensor.to(device) for tensor in tensors(shape, 23))
    first, second = (train(run.model(*shape), run.training(), images, labels, 0) for _ in range(2))
    assert_equal_to_the_bit(first, second)
