"""Training lowers the loss, repeats itself to the bit, and is the plain loop of the paper.

The golden losses are rewritten by `python -m pytest tests/training/test_loop.py --regenerate-golden`.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from trainings import Data, assert_same_training, model_bytes

from capsnet.networks.attention import NORMS
from capsnet.networks.capsnet import AttentionConfig, CapsNet, ModelConfig, NetworkConfig
from capsnet.networks.decoders import DECODERS
from capsnet.networks.losses import RECONSTRUCTION_LOSSES, margin_loss, reconstruction_loss
from capsnet.training.loop import measured, train
from capsnet.training.schedules import ALPHA_SCHEDULES
from capsnet.training.seeds import initialise
from capsnet.training.step import PRECISIONS
from capsnet.training.training_config import TrainingConfig

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
        capsules, lengths, *_ = model(pixels, labels)
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
