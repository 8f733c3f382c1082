"""Training: it learns, it repeats itself, and it is a plain loop.

The golden losses are written anew by `python -m pytest tests/training/test_loop.py --regenerate-golden`.
"""

import json
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from trainings import Data, assert_same_training, model_bytes

from capsnet.evaluation.recognition import Scores, evaluate
from capsnet.networks.attention import NORMS
from capsnet.networks.capsnet import AttentionConfig, CapsNet, ModelConfig, NetworkConfig
from capsnet.networks.decoders import DECODERS
from capsnet.networks.losses import RECONSTRUCTION_LOSSES, margin_loss, reconstruction_loss
from capsnet.training import tasks
from capsnet.training.loop import (
    ALPHA_SCHEDULES,
    Course,
    TrainingConfig,
    learning_rate,
    measured,
    train,
    train_side_by_side,
)
from capsnet.training.step import PRECISIONS, initialise

GOLDEN = Path(__file__).parent / "golden" / "cpu.json"
DECODER = pytest.mark.parametrize("decoder", DECODERS)
BATCH_NORM = pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "batch norm"])

pytestmark = pytest.mark.usefixtures("one_thread")


def mean_losses(model: CapsNet, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return margin loss and reconstruction error as training sees them."""
    model.train()
    with torch.no_grad():
        output = model(images / 255, labels)
    rloss = 0.0 if output.reconstruction is None else reconstruction_loss(images / 255, output.reconstruction).mean()
    return margin_loss(output.lengths, labels).mean().item(), float(rloss)


@pytest.fixture
def validated(monkeypatch: pytest.MonkeyPatch) -> list[Data]:
    """Collect the images and labels of each evaluation."""
    splits: list[Data] = []

    def recording(model: CapsNet, images: Tensor, labels: Tensor, **options: Any) -> Scores:
        splits.append((images, labels))
        return evaluate(model, images, labels, **options)

    monkeypatch.setattr(tasks, "evaluate", recording)
    return splits


@DECODER
@BATCH_NORM
@pytest.mark.parametrize("precision", PRECISIONS)
def test_twenty_steps_lower_the_loss(
    precision: str,
    decoder: str,
    batch_norm: bool,
    tiny_model: ModelConfig,
    tiny_training: TrainingConfig,
    tiny_data: Data,
) -> None:
    config = replace(tiny_model, decoder=decoder, batch_norm=batch_norm)
    trained = train(config, replace(tiny_training, epochs=5, precision=precision), *tiny_data, seed=0)
    mloss_before, rloss_before = mean_losses(initialise(config, 0), *tiny_data)
    mloss, rloss = mean_losses(trained.model, *tiny_data)
    assert mloss < 0.9 * mloss_before
    assert rloss < 0.95 * rloss_before or decoder == "none"


@pytest.mark.parametrize("reconstruction", RECONSTRUCTION_LOSSES)
@pytest.mark.parametrize("schedule", ALPHA_SCHEDULES)
@pytest.mark.parametrize("decoder", [name for name, build in DECODERS.items() if build is not None])
def test_training_is_the_plain_loop_of_the_paper(
    reconstruction: str,
    schedule: str,
    decoder: str,
    tiny_model: ModelConfig,
    tiny_training: TrainingConfig,
    tiny_data: Data,
) -> None:
    """One batch an epoch, so that the order does not matter; the true class is kept, the error is a sum over pixels."""
    images, labels = tiny_data
    images = torch.cat([images, images.flip(3)], 1)
    model_config = replace(tiny_model, decoder=decoder, channels=2)
    config = replace(
        tiny_training,
        epochs=3,
        batch_size=len(labels),
        lr_decay=0.5,
        alpha=0.02,
        alpha_schedule=schedule,
        reconstruction=reconstruction,
    )
    trained = train(model_config, config, images, labels, seed=3)

    model = initialise(model_config, 3)
    optimizer = torch.optim.Adam(model.parameters())
    pixels = images.float() / 255
    for step, row in enumerate(trained.history):
        capsules, lengths, _, _ = model(pixels, labels)
        right = torch.zeros_like(capsules)
        right[range(len(labels)), labels] = capsules[range(len(labels)), labels]
        error = model.decoder(right.flatten(1)) - pixels
        rloss = (error.abs() if reconstruction == "l1" else error**2).flatten(1).sum(1).mean()
        mloss = margin_loss(lengths, labels).mean()
        alpha = ALPHA_SCHEDULES[schedule](0.02, step + 1)
        accuracy = 100 * (lengths.argmax(1) == labels).double().mean().item()
        assert row == pytest.approx(
            {
                "epoch": step + 1,
                "lr": 0.003 * 0.5 ** (step / 10),
                "alpha": alpha,
                "train_loss": (mloss + alpha * rloss).item(),
                "train_rloss": rloss.item(),
                "train_mloss": mloss.item(),
                "train_accuracy": accuracy,
            },
            rel=1e-4,
        )
        optimizer.param_groups[0]["lr"] = 0.003 * 0.5 ** (step / 10)
        optimizer.zero_grad()
        (mloss + alpha * rloss).backward()
        optimizer.step()
    for ours, plain in zip(trained.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-4)


def test_two_trainings_are_equal_to_the_bit(
    normalised: ModelConfig, eventful: TrainingConfig, tiny_data: Data, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    first = train(normalised, eventful, *tiny_data, seed=0)
    torch.manual_seed(2)
    second = train(normalised, eventful, *tiny_data, seed=0)
    assert_same_training(tmp_path, first, second)


def test_another_seed_is_another_training(
    tiny_model: ModelConfig, tiny_training: TrainingConfig, tiny_data: Data, tmp_path: Path
) -> None:
    first, second = (train(tiny_model, tiny_training, *tiny_data, seed=seed) for seed in (0, 1))
    assert first.history != second.history
    assert model_bytes(tmp_path, first) != model_bytes(tmp_path, second)


def test_a_data_set_of_one_image_trains(
    tiny_model: ModelConfig, tiny_training: TrainingConfig, tiny_data: Data
) -> None:
    images, labels = tiny_data
    trained = train(tiny_model, replace(tiny_training, epochs=10), images[:1], labels[:1], seed=0)
    assert trained.history[-1]["train_loss"] < trained.history[0]["train_loss"]


def test_validation_images_are_never_trained_on(
    tiny_model: ModelConfig,
    tiny_training: TrainingConfig,
    numbered: Data,
    seen_in_training: list[list[int]],
    validated: list[Data],
) -> None:
    train(tiny_model, replace(tiny_training, validation=0.3), *numbered, seed=0)
    trained_on = set(chain(*seen_in_training))
    first, second = (set(images[:, 0, 0, 0].tolist()) for images, _ in validated)
    assert len(first) == round(0.3 * 33)
    assert not trained_on & first
    assert trained_on | first == set(range(33))
    assert first == second


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
def test_images_of_one_group_are_trained_on_or_held_out_together(
    share: float,
    tiny_model: ModelConfig,
    tiny_training: TrainingConfig,
    numbered: Data,
    seen_in_training: list[list[int]],
    validated: list[Data],
) -> None:
    """Five groups of 3 to 9 images with names of their own; seeds side by side may hold out different numbers."""
    images, labels = numbered
    sizes = torch.tensor([3, 9, 8, 7, 6])
    groups = torch.tensor([9, 4, 7, 6, 8]).repeat_interleave(sizes)[torch.randperm(33)]
    courses = [Course(seed) for seed in range(3)]
    config = replace(tiny_training, validation=share, epochs=1)
    together = train_side_by_side(tiny_model, config, images, labels, courses, groups=groups)
    numbers = [images.shape[0] - len(held_out) for held_out, _ in validated]
    trained_on = iter(chain(*seen_in_training))
    kept = [set(islice(trained_on, number)) for number in numbers]
    for seed, (seen, (held_out, _)) in enumerate(zip(kept, validated[:3], strict=True)):
        out = set(held_out[:, 0, 0, 0].tolist())
        assert seen | out == set(range(33))
        assert not set(groups[list(seen)].tolist()) & set(groups[list(out)].tolist())
        assert len(groups[list(out)].unique()) == max(1, round(share * 5))
        alone = train(tiny_model, config, images, labels, seed, groups=groups)
        assert alone.history == together[seed].history
    assert len(set(map(frozenset, kept))) > 1


def test_groups_that_leave_nothing_to_train_on_are_refused(
    tiny_model: ModelConfig, tiny_training: TrainingConfig, tiny_data: Data
) -> None:
    config = replace(tiny_training, validation=0.5)
    with pytest.raises(ValueError, match=r"validation: got 0\.5, which leaves none of 1 groups of images"):
        train(tiny_model, config, *tiny_data, seed=0, groups=torch.ones(32, dtype=torch.int64))


@pytest.mark.parametrize("reconstruction", RECONSTRUCTION_LOSSES)
@DECODER
def test_validation_scores_are_those_of_the_network_on_the_held_out_images(
    reconstruction: str,
    decoder: str,
    tiny_model: ModelConfig,
    tiny_training: TrainingConfig,
    tiny_data: Data,
    validated: list[Data],
) -> None:
    """The decoder is fed with the predicted class; the loss weighs the reconstruction as training does."""
    config = replace(tiny_training, validation=0.3, alpha_schedule="tanh", alpha=0.1, reconstruction=reconstruction)
    trained = train(replace(tiny_model, decoder=decoder), config, *tiny_data, seed=0)
    images, labels = validated[-1]
    trained.model.eval()
    with torch.no_grad():
        output = trained.model(images / 255)
    mloss = margin_loss(output.lengths, labels).mean().item()
    rloss = 0.0
    if output.reconstruction is not None:
        rloss = RECONSTRUCTION_LOSSES[reconstruction](images / 255, output.reconstruction).mean().item()
    alpha = ALPHA_SCHEDULES["tanh"](0.1, 2)
    row = trained.history[-1]
    assert {name: row[name] for name in row if name.startswith("val_")} == {
        "val_loss": pytest.approx(mloss + alpha * rloss, rel=1e-5),
        "val_rloss": None if decoder == "none" else pytest.approx(rloss, rel=1e-5),
        "val_mloss": pytest.approx(mloss, rel=1e-5),
        "val_accuracy": pytest.approx(100 * (output.lengths.argmax(1) == labels).double().mean().item()),
    }


def test_a_validation_split_that_leaves_nothing_to_train_on_is_refused(
    tiny_model: ModelConfig, tiny_training: TrainingConfig, tiny_data: Data
) -> None:
    with pytest.raises(ValueError, match="validation"):
        train(tiny_model, replace(tiny_training, validation=0.99), *tiny_data, seed=0)


@pytest.mark.parametrize(
    ("schedule", "epoch", "expected"),
    [
        ("constant", 1, 0.5),
        ("constant", 100, 0.5),
        ("tanh_delayed", 8, 0.5 * 0.013611),  # (tanh(1 - pi) + 1) / 2
        ("tanh_delayed", 1000, 0.5),
        ("tanh", 16, 0.5 * 0.761594),  # tanh(1)
        ("tanh", 1, 0.5 * 0.062419),  # tanh(1/16)
        ("tanh", 1000, 0.5),
    ],
)
def test_alpha_schedules_give_the_numbers_worked_by_hand(schedule: str, epoch: int, expected: float) -> None:
    assert ALPHA_SCHEDULES[schedule](0.5, epoch) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("schedule", ALPHA_SCHEDULES)
def test_every_alpha_schedule_rises_to_alpha(schedule: str) -> None:
    values = [ALPHA_SCHEDULES[schedule](0.5, epoch) for epoch in range(1, 200)]
    assert values == sorted(values)
    assert values[0] > 0
    assert values[-1] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("floor", "step", "expected"),
    [
        (1e-6, 0, 1e-3),
        (1e-6, 1000, 1e-3 * 0.9797959),  # the square root of 0.96
        (1e-6, 2000, 0.96e-3),
        (1e-6, 4000, 0.9216e-3),
        (1e-6, 10**6, 1e-6),
        (0.0, 10**6, 1.3672e-12),
        (0.5, 0, 1e-3),  # a floor above the start raises nothing
        (0.5, 2000, 1e-3),
    ],
)
def test_learning_rate_decays_continuously_down_to_the_floor(
    floor: float, step: int, expected: float, tiny_training: TrainingConfig
) -> None:
    config = replace(tiny_training, lr=1e-3, lr_decay=0.96, lr_decay_steps=2000, lr_floor=floor)
    assert learning_rate(config, step, 500) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("step", "expected"), [(0, 5e-4), (99, 5e-4), (100, 4.85e-4), (299, 4.70e-4), (10**5, 5e-5)])
def test_learning_rate_decays_after_each_epoch_down_to_the_floor(
    step: int, expected: float, tiny_training: TrainingConfig
) -> None:
    config = replace(tiny_training, lr=5e-4, lr_schedule="epochs", lr_decay=0.97, lr_floor=5e-5)
    assert learning_rate(config, step, 100) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.04), (150, 0.52), (300, 1.0), (650, 0.5), (999, 5e-6)],  # half of the way up, and half of the way down
)
def test_one_cycle_rises_for_three_tenths_and_falls_to_nothing(
    step: int, expected: float, tiny_training: TrainingConfig
) -> None:
    config = replace(tiny_training, lr=1.0, lr_schedule="one_cycle", epochs=10)
    assert learning_rate(config, step, 100) == pytest.approx(expected, rel=0.01)


def test_a_cycle_that_was_finished_is_not_gone_on_with(
    tiny_model: ModelConfig, tiny_training: TrainingConfig, tiny_data: Data, tmp_path: Path
) -> None:
    config = replace(tiny_training, lr_schedule="one_cycle")
    state = tmp_path / "state.safetensors"
    train(tiny_model, config, *tiny_data, seed=0, checkpoint=state)
    with pytest.raises(ValueError, match="lr_schedule: got 'one_cycle of 2 epochs', expected 'one_cycle of 4 epochs'"):
        train(tiny_model, replace(config, epochs=4), *tiny_data, seed=0, resume=state)


def test_history_shows_the_learning_rate_of_the_last_step(
    tiny_model: ModelConfig, tiny_training: TrainingConfig, tiny_data: Data
) -> None:
    config = replace(tiny_training, lr_decay=0.5)
    history = train(tiny_model, config, *tiny_data, seed=0).history
    assert [row["lr"] for row in history] == [learning_rate(config, 3, 4), learning_rate(config, 7, 4)]


def test_log_gets_what_was_measured_and_the_speed(
    tiny_model: ModelConfig, tiny_training: TrainingConfig, tiny_data: Data
) -> None:
    logged: list[tuple[int, dict[str, float]]] = []
    history = train(
        replace(tiny_model, decoder="none"),
        tiny_training,
        *tiny_data,
        seed=0,
        log=lambda epoch, values: logged.append((epoch, dict(values))),
    ).history
    assert [epoch for epoch, _ in logged] == [1, 2]
    for (_, values), row in zip(logged, history, strict=True):
        assert values.pop("images_per_second") > 0
        assert values == measured(row)
        assert row["train_rloss"] is None
        assert set(values) == {"lr", "alpha", "train_loss", "train_mloss", "train_accuracy"}


def test_losses_are_the_golden_ones(
    request: pytest.FixtureRequest,
    tiny_model: ModelConfig,
    tiny_attention: AttentionConfig,
    eventful: TrainingConfig,
    tiny_data: Data,
) -> None:
    networks: dict[str, NetworkConfig] = {}
    for decoder in DECODERS:
        for batch_norm in (False, True):
            name = decoder + (" with batch norm" if batch_norm else "")
            networks[name] = replace(tiny_model, decoder=decoder, batch_norm=batch_norm)
    for norm in NORMS:
        networks[f"attention with {norm} norm"] = replace(tiny_attention, encoder_norm=norm)
    losses = {
        name: [row["train_loss"] for row in train(config, replace(eventful, epochs=3), *tiny_data, seed=0).history]
        for name, config in networks.items()
    }
    if request.config.getoption("--regenerate-golden"):
        GOLDEN.write_text(json.dumps(losses, indent=2) + "\n")
        pytest.skip(f"wrote {GOLDEN}")
    golden = json.loads(GOLDEN.read_text())
    assert golden.keys() == losses.keys()
    for name, expected in golden.items():
        assert losses[name] == pytest.approx(expected, rel=1e-5), name


def test_one_image_cannot_be_trained_on_with_batch_normalisation(
    normalised: ModelConfig, tiny_training: TrainingConfig, tiny_data: Data
) -> None:
    images, labels = tiny_data
    with pytest.raises(ValueError, match="batch_norm: got a batch of 1 of 1 images, expected at least 2"):
        train(normalised, tiny_training, images[:1], labels[:1], 0)
