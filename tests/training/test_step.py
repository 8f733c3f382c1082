"""The steps of one seed: which images, in which order, shifted how, in which precision, and nothing read from Python.

Axes: N images, B batch, C channels, H W height and width.
"""

from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from like_a_gpu import NothingIsRead
from torch import Generator, Tensor
from trainings import Data, assert_same_training, trainer_on

from capsnet.data import augmentation
from capsnet.data.augmentation import draw_shifts, shift
from capsnet.networks.capsnet import CapsNet, ModelConfig, Output
from capsnet.networks.decoders import DECODERS
from capsnet.networks.losses import margin_loss, reconstruction_loss
from capsnet.training import step
from capsnet.training.loop import batch_sizes, train
from capsnet.training.seeds import generator_for, initialise
from capsnet.training.step import PRECISIONS
from capsnet.training.training_config import TrainingConfig

PRECISION = pytest.mark.parametrize("precision", PRECISIONS)
BATCH_NORM = pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "batch norm"])

pytestmark = pytest.mark.usefixtures("one_thread")


def test_every_image_is_seen_once_an_epoch_in_an_order_of_its_own(
    tiny_model: ModelConfig, tiny_training: TrainingConfig, numbered: Data, seen_in_training: list[list[int]]
) -> None:
    train(tiny_model, tiny_training, *numbered, seed=0)
    first, second = (list(chain(*seen_in_training[start : start + 4])) for start in (0, 4))
    assert sorted(first) == sorted(second) == list(range(33))
    assert first != second
    assert first != sorted(first)


def test_a_left_over_image_joins_the_last_batch_so_that_batch_norm_can_train(
    tiny_model: ModelConfig, tiny_training: TrainingConfig, numbered: Data, seen_in_training: list[list[int]]
) -> None:
    config = replace(tiny_model, batch_norm=True)
    trained = train(config, replace(tiny_training, epochs=1), *numbered, seed=0)
    assert [len(batch) for batch in seen_in_training] == [8, 8, 8, 9]
    assert trained.history[0]["train_loss"] > 0


def test_shifting_draws_from_a_generator_of_its_own(
    tiny_model: ModelConfig,
    tiny_training: TrainingConfig,
    tiny_data: Data,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the shifted images thrown away, nothing may be left of having drawn the shifts."""
    shifting = replace(tiny_training, max_shift=2)
    still = train(tiny_model, tiny_training, *tiny_data, seed=0)
    assert train(tiny_model, shifting, *tiny_data, seed=0).history != still.history

    def undone(images: Tensor, shifts: Tensor) -> Tensor:
        assert not torch.equal(shift(images, shifts), images)
        return images

    monkeypatch.setattr(augmentation, "shift", undone)
    assert_same_training(tmp_path, train(tiny_model, shifting, *tiny_data, seed=0), still)


def test_shifts_of_each_epoch_come_from_another_generator_than_the_order(
    tiny_model: ModelConfig, tiny_training: TrainingConfig, tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []

    def recording(number: int, pixels: int, generator: Generator) -> Tensor:
        seeds.append(generator.initial_seed())
        return draw_shifts(number, pixels, generator)

    monkeypatch.setattr(augmentation, "draw_shifts", recording)
    train(tiny_model, replace(tiny_training, max_shift=2), *tiny_data, seed=0)
    _, *of_epochs = seeds  # the first draw makes room for the others
    assert len(of_epochs) == tiny_training.epochs
    assert len(set(seeds)) == len(seeds)
    assert not set(seeds) & {generator_for(0, "order", epoch).initial_seed() for epoch in (1, 2)}


def test_generators_differ_by_seed_use_and_epoch_and_repeat_themselves() -> None:
    uses: list[tuple[Any, ...]] = [
        (0, "order", 1),
        (0, "order", 2),
        (0, "augmentation", 1),
        (1, "order", 1),
        (0, "order"),
    ]
    draws = [torch.randint(2**60, (1,), generator=generator_for(*use)).item() for use in uses]
    assert len(set(draws)) == len(uses)
    assert draws == [torch.randint(2**60, (1,), generator=generator_for(*use)).item() for use in uses]


def test_training_leaves_the_global_generator_alone(
    tiny_model: ModelConfig, tiny_training: TrainingConfig, tiny_data: Data
) -> None:
    torch.manual_seed(12345)
    before = torch.get_rng_state()
    train(tiny_model, replace(tiny_training, max_shift=1, validation=0.2), *tiny_data, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_initial_weights_depend_on_the_seed_alone(tiny_model: ModelConfig) -> None:
    torch.manual_seed(1)
    first = initialise(tiny_model, 0).state_dict()
    torch.manual_seed(2)
    second, other = initialise(tiny_model, 0).state_dict(), initialise(tiny_model, 1).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["class_capsules.weight"], other["class_capsules.weight"])


def test_order_and_shifts_of_an_epoch_do_not_depend_on_the_size_of_the_batches(
    tiny_model: ModelConfig, tiny_data: Data, shifted: TrainingConfig
) -> None:
    drawn = []
    for sizes in ([8, 8, 8, 8], [5, 20, 7]):
        seed = trainer_on(tiny_data, tiny_model, shifted)
        for epoch in (1, 2):
            assert list(seed.epoch(epoch, sizes, [0.001] * len(sizes), 0.0005)) == sizes
        drawn.append((seed.plan.order, *seed.plan.drawn))
    assert torch.equal(drawn[0][0], drawn[1][0])
    assert torch.equal(drawn[0][1], drawn[1][1])


@PRECISION
@BATCH_NORM
@pytest.mark.parametrize("decoder", DECODERS)
def test_the_steps_of_an_epoch_read_nothing_from_the_device(
    decoder: str, batch_norm: bool, precision: str, tiny_model: ModelConfig, tiny_data: Data, shifted: TrainingConfig
) -> None:
    """That is why a GPU can replay them: what Python would decide by a number is not recorded."""
    config = replace(tiny_model, decoder=decoder, batch_norm=batch_norm, leaky_routing=True, routing_bias=True)
    seed = trainer_on(tiny_data, config, replace(shifted, precision=precision))
    with NothingIsRead():
        for epoch in (1, 2):
            assert list(seed.epoch(epoch, [16, 9, 7], [0.001, 0.002, 0.003], 0.0005)) == [16, 9, 7]
        with pytest.raises(AssertionError, match="_local_scalar_dense"):
            seed.means()
    assert seed.means().bad_step == -1


def test_a_step_takes_its_own_learning_rate_and_images(
    tiny_model: ModelConfig, tiny_data: Data, tiny_training: TrainingConfig
) -> None:
    """With a rate of 0 the weights stand still, so that the sums are those of the initial network."""
    seed = trainer_on(tiny_data, tiny_model, tiny_training)
    before = {name: tensor.clone() for name, tensor in seed.model.state_dict().items()}
    steps = seed.epoch(1, [20, 12], [0.0, 0.01], 0.0005)
    next(steps)
    assert all(torch.equal(tensor, before[name]) for name, tensor in seed.model.state_dict().items())
    chosen = seed.plan.order[:20]
    with torch.no_grad():
        lengths = seed.model(tiny_data[0][chosen] / 255, tiny_data[1][chosen]).lengths
    torch.testing.assert_close(seed.counters.sums[0], step.margin_loss(lengths, tiny_data[1][chosen]).sum().double())
    next(steps)
    assert not all(torch.equal(tensor, before[name]) for name, tensor in seed.model.state_dict().items())


def test_a_state_is_taken_over_to_the_bit(tiny_model: ModelConfig, tiny_data: Data, shifted: TrainingConfig) -> None:
    one, other = trainer_on(tiny_data, tiny_model, shifted), trainer_on(tiny_data, tiny_model, shifted, seed=1)
    for seed in (one, other):
        list(seed.epoch(1, [16, 16], [0.001, 0.001], 0.0005))
    other.restore({name: tensor.clone() for name, tensor in one.tensors().items()})
    assert one.tensors().keys() == other.tensors().keys()
    for name, tensor in one.tensors().items():
        assert torch.equal(tensor, other.tensors()[name]), name


@PRECISION
@BATCH_NORM
def test_weights_capsules_and_losses_are_in_float32_in_every_precision(
    precision: str,
    batch_norm: bool,
    tiny_model: ModelConfig,
    tiny_data: Data,
    monkeypatch: pytest.MonkeyPatch,
    shifted: TrainingConfig,
) -> None:
    outputs: list[Output] = []
    products: list[torch.dtype] = []
    forward = CapsNet.forward

    def recording(self: CapsNet, *arguments: Any) -> Output:
        outputs.append(forward(self, *arguments))
        return outputs[-1]

    monkeypatch.setattr(CapsNet, "forward", recording)
    seed = trainer_on(tiny_data, replace(tiny_model, batch_norm=batch_norm), replace(shifted, precision=precision))
    seed.model.encoder[0].register_forward_hook(lambda module, inputs, output: products.append(output.dtype))
    list(seed.epoch(1, [16, 16], [0.001, 0.001], 0.0005))
    assert products == [PRECISIONS[precision]] * 2
    for output in outputs:
        assert {each.dtype for each in output if each is not None} == {torch.float32}
    for name, tensor in seed.tensors().items():
        assert tensor.dtype == (torch.int64 if name.endswith("num_batches_tracked") else torch.float32), name
    assert {parameter.grad.dtype for parameter in seed.model.parameters() if parameter.grad is not None} == {
        torch.float32
    }
    assert seed.counters.sums.dtype == torch.float64


def test_bfloat16_repeats_itself_to_the_bit_and_is_not_float32(
    normalised: ModelConfig, eventful: TrainingConfig, tiny_data: Data, tmp_path: Path
) -> None:
    half = replace(eventful, precision="bfloat16")
    first, second = (train(normalised, half, *tiny_data, seed=0) for _ in range(2))
    assert_same_training(tmp_path, first, second)
    whole = train(normalised, eventful, *tiny_data, seed=0)
    losses, exact = ([row["train_loss"] for row in trained.history] for trained in (first, whole))
    assert losses != exact
    assert losses == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize(
    ("number", "size", "expected"),
    [
        (32, 8, [8, 8, 8, 8]),
        (33, 8, [8, 8, 8, 9]),
        (34, 8, [8, 8, 8, 8, 2]),
        (9, 8, [9]),
        (8, 8, [8]),
        (5, 8, [5]),
        (1, 8, [1]),
        (3, 1, [1, 1, 1]),
    ],
)
def test_batch_sizes_are_those_worked_by_hand(number: int, size: int, expected: list[int]) -> None:
    assert batch_sizes(number, size) == expected


def test_a_share_of_a_batch_that_is_reconstructed_stands_for_the_rest(
    tiny_model: ModelConfig, tiny_training: TrainingConfig, tiny_data: Data
) -> None:
    """One step, worked out here: the error of the first 3 of 12 images counts four times."""
    config = replace(tiny_training, decoded_share=0.25, alpha=0.02)
    seed = trainer_on(tiny_data, tiny_model, config)
    model = initialise(tiny_model, 0)
    sizes = []
    seed.model.decoder.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    assert list(seed.epoch(1, [12], [0.003], 0.02)) == [12]
    assert sizes == [3]
    images, labels = tiny_data
    order = torch.randperm(32, generator=generator_for(0, "order", 1))[:12]
    pixels = images[order] / 255
    output = model(pixels, labels[order])
    mloss = margin_loss(output.lengths, labels[order])
    rloss = reconstruction_loss(pixels[:3], output.reconstruction[:3])
    (mloss.mean() + 0.02 * rloss.mean()).backward()
    for (name, ours), plain in zip(seed.model.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-4, atol=1e-7, msg=name)
    torch.testing.assert_close(
        seed.counters.sums[:2], torch.stack([mloss.sum(), 4 * rloss.sum()]).double(), rtol=1e-5, atol=0
    )


@pytest.mark.parametrize(("size", "decoded"), [(64, 4), (40, 2), (2, 1)])
def test_a_share_is_of_whole_images_and_at_least_of_one(
    size: int, decoded: int, tiny_model: ModelConfig, tiny_training: TrainingConfig
) -> None:
    images, labels = torch.zeros(64, 1, 20, 20, dtype=torch.uint8), torch.arange(64) % 3
    seed = trainer_on((images, labels), tiny_model, replace(tiny_training, decoded_share=0.0625))
    sizes = []
    seed.model.decoder.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    assert list(seed.epoch(1, [size], [0.003], 0.02)) == [size]
    assert sizes == [decoded]
