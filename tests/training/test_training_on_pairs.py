"""Training on pairs of images that overlap."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from like_a_gpu import NothingIsRead
from overlapping import SHIFT
from seeded import generator
from torch import Tensor
from trainings import Data, assert_same_training, killed_after, trainer_on

from capsnet.data.pairs import Pairs, draw_partners, overlay, put_together
from capsnet.networks.capsnet import ModelConfig
from capsnet.networks.decoders import DECODERS
from capsnet.networks.losses import RECONSTRUCTION_LOSSES
from capsnet.training.loop import Course, train, train_side_by_side
from capsnet.training.seeds import generator_for, initialise
from capsnet.training.step import PRECISIONS
from capsnet.training.tasks import Separation
from capsnet.training.training_config import TrainingConfig

pytestmark = pytest.mark.usefixtures("one_thread")


def test_an_epoch_has_every_image_once_as_the_first_and_a_partner_of_its_own_epoch(
    field: ModelConfig, separating: TrainingConfig, tiny_data: Data
) -> None:
    seed = trainer_on(tiny_data, field, separating)
    orders = []
    for epoch in (1, 2):
        list(seed.epoch(epoch, [16, 16], [0.0, 0.0], 0.0))
        first, second = seed.plan.order.view(-1, 2).T.clone()
        assert sorted(first.tolist()) == list(range(32))
        assert (tiny_data[1][first] != tiny_data[1][second]).all()
        orders.append((first, second))
    assert not torch.equal(orders[0][1][orders[0][0].argsort()], orders[1][1][orders[1][0].argsort()])


def test_partners_come_from_the_images_that_are_trained_on(separating: TrainingConfig) -> None:
    """None of those held out may slip in."""
    labels, members = torch.arange(20) % 3, torch.tensor([3, 19, 4, 8, 11])
    order = Separation(separating, 20, 20 + 2 * SHIFT).choose(members, labels, generator())
    assert order.view(-1, 2)[:, 0].tolist() == members.tolist()
    assert set(order.tolist()) <= set(members.tolist())


def test_pairs_of_an_epoch_do_not_depend_on_the_size_of_the_batches(
    field: ModelConfig, separating: TrainingConfig, tiny_data: Data
) -> None:
    seen = []
    for sizes in ([8, 8, 8, 8], [5, 20, 7]):
        seed = trainer_on(tiny_data, field, separating)
        list(seed.epoch(1, sizes, [0.0] * len(sizes), 0.0))
        seen.append(seed._batch(torch.arange(32)))
    for one, other in zip(*seen, strict=True):
        assert torch.equal(one, other)


def test_order_and_initial_weights_are_those_of_single_images(
    field: ModelConfig, separating: TrainingConfig, tiny_data: Data, tiny_model: ModelConfig
) -> None:
    """Partners are drawn from a generator of their own."""
    pairs = trainer_on(tiny_data, field, separating)
    alone = trainer_on(tiny_data, tiny_model, replace(separating, task="classify"))
    for seed in (pairs, alone):
        list(seed.epoch(1, [32], [0.0], 0.0))
    assert torch.equal(pairs.plan.order.view(-1, 2)[:, 0], alone.plan.order)
    assert torch.equal(pairs.model.state_dict()["encoder.0.weight"], alone.model.state_dict()["encoder.0.weight"])


@pytest.mark.parametrize("reconstruction", RECONSTRUCTION_LOSSES)
@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "batch norm"])
def test_a_step_gives_the_losses_of_a_loop_over_its_pairs(
    batch_norm: bool,
    decoder: str,
    reconstruction: str,
    field: ModelConfig,
    separating: TrainingConfig,
    tiny_data: Data,
) -> None:
    """Both classes are present; each image is reconstructed from its own capsule alone, and the errors are added."""
    config = replace(separating, reconstruction=reconstruction, epochs=1, batch_size=32)
    model_config = replace(field, decoder=decoder, batch_norm=batch_norm)
    got = train(model_config, config, *tiny_data, 3).history[0]

    seed = trainer_on(tiny_data, model_config, config, 3)
    list(seed.epoch(1, [32], [0.0], 0.0))
    model = initialise(model_config, 3)
    images, labels = tiny_data
    order = torch.randperm(32, generator=generator_for(3, "order", 1))
    partners = order[draw_partners(labels[order], generator_for(3, "partners", 1))]
    shifts = torch.randint(-SHIFT, SHIFT + 1, (2, 64), generator=generator_for(3, "augmentation", 1)).view(2, 32, 2)
    digits = put_together(images, Pairs(torch.stack([order, partners], 1), shifts), field.image_size)
    with torch.no_grad():
        output = model(overlay(digits), labels[torch.stack([order, partners], 1)])
        one_by_one = (
            [model.decode(output.capsules, labels[which]) for which in (order, partners)] if model.decoder else []
        )
    mloss = rloss = 0.0
    for pair, classes in enumerate(zip(labels[order].tolist(), labels[partners].tolist(), strict=True)):
        for label, length in enumerate(output.lengths[pair].tolist()):
            mloss += max(0, 0.9 - length) ** 2 if label in classes else 0.5 * max(0, length - 0.1) ** 2
        for which in range(2 if model.decoder else 0):
            assert output.reconstruction is not None
            error = output.reconstruction[pair, which] - digits[pair, which]
            rloss += (error.abs() if reconstruction == "l1" else error**2).sum().item()
            if not batch_norm:
                torch.testing.assert_close(output.reconstruction[pair, which], one_by_one[which][pair])
    assert got["train_mloss"] == pytest.approx(mloss / 32, rel=1e-5)
    assert got["train_rloss"] == (pytest.approx(rloss / 32, rel=1e-5) if model.decoder else None)


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_steps_of_an_epoch_of_pairs_read_nothing_from_the_device(
    decoder: str, field: ModelConfig, separating: TrainingConfig, tiny_data: Data
) -> None:
    seed = trainer_on(tiny_data, replace(field, decoder=decoder, batch_norm=True), separating)
    with NothingIsRead():
        for epoch in (1, 2):
            assert list(seed.epoch(epoch, [16, 9, 7], [0.001, 0.002, 0.003], 0.0005)) == [16, 9, 7]
    assert seed.means().bad_step == -1


@pytest.mark.parametrize("precision", PRECISIONS)
def test_twenty_steps_on_pairs_lower_the_loss(
    precision: str, field: ModelConfig, separating: TrainingConfig, tiny_data: Data
) -> None:
    config = replace(separating, epochs=5, precision=precision)
    losses = [row["train_loss"] for row in train(field, config, *tiny_data, 0).history]
    assert losses[-1] < 0.8 * losses[0]


def test_a_killed_training_on_pairs_goes_on_to_the_same_bytes(
    field: ModelConfig, eventful: TrainingConfig, tiny_data: Data, tmp_path: Path
) -> None:
    config = replace(eventful, task="separate", max_shift=SHIFT)
    model_config = replace(field, decoder="deconv", batch_norm=True)
    state = tmp_path / "state.safetensors"
    unbroken = train(model_config, config, *tiny_data, 5)
    with pytest.raises(KeyboardInterrupt):
        train(model_config, config, *tiny_data, 5, checkpoint=state, log=killed_after(3))
    assert_same_training(tmp_path, train(model_config, config, *tiny_data, 5, resume=state), unbroken)
    other, same = train_side_by_side(model_config, config, *tiny_data, [Course(1), Course(5)])
    assert_same_training(tmp_path, same, unbroken)
    assert other.history != same.history


def test_a_field_of_another_size_is_refused(
    tiny_model: ModelConfig, separating: TrainingConfig, tiny_data: Data
) -> None:
    with pytest.raises(ValueError, match="image_size: got 20, expected 24: images of 20 pixels and max_shift 2"):
        train(tiny_model, separating, *tiny_data, 0)


def test_images_that_follow_each_other_are_overlaid(separating: TrainingConfig) -> None:
    pixels = torch.tensor([0.25, 0.5, 0.75, 0.5])[:, None, None, None].expand(-1, 1, 2, 2)
    batch = Separation(separating, 20, 20 + 2 * SHIFT).compose(pixels, torch.tensor([3, 4, 5, 6]))
    assert batch.pixels[:, 0, 0, 0].tolist() == [0.75, 1.0]
    assert batch.labels.tolist() == [[3, 4], [5, 6]]
    assert batch.targets[:, :, 0, 0, 0].tolist() == [[0.25, 0.5], [0.75, 0.5]]


def test_what_is_to_be_reconstructed_can_be_shown_whatever_the_jitter_did(
    field: ModelConfig, separating: TrainingConfig, tiny_data: Data
) -> None:
    bright = replace(separating, brightness=128.0, contrast=(0.5, 2.0), clip_pixels=False)
    trainer = trainer_on(tiny_data, field, bright)
    list(trainer.epoch(1, [32], [0.0], 0.0))
    batch = trainer._batch(torch.arange(32))
    assert batch.pixels.min() < 0
    assert (batch.targets.min(), batch.targets.max()) == (0, 1)


def test_held_out_images_of_one_class_are_refused_before_the_first_step(
    field: ModelConfig, separating: TrainingConfig, tiny_data: Data
) -> None:
    images, labels = tiny_data
    groups = labels.clamp(max=1)  # one group of class 0, and one of the others
    config = replace(separating, validation=0.5)
    held_out = {seed: train_or_refusal(field, config, images, labels, groups, seed) for seed in range(8)}
    assert "validation images: got 11 of one class, expected at least two classes to make pairs of" in held_out.values()


def train_or_refusal(
    model: ModelConfig, config: TrainingConfig, images: Tensor, labels: Tensor, groups: Tensor, seed: int
) -> str:
    """Return what a training of no epochs is refused for."""
    try:
        train(model, replace(config, epochs=0), images, labels, seed, groups=groups)
    except ValueError as error:
        return str(error)
    return ""
