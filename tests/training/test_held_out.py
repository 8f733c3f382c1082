"""Images held out for validation are never trained on, and are scored like all others."""

from dataclasses import replace
from itertools import chain, islice
from typing import Any

import pytest
import torch
from torch import Tensor
from trainings import Data

from capsnet.evaluation.recognition import Scores, evaluate
from capsnet.networks.capsnet import CapsNet, ModelConfig
from capsnet.networks.decoders import DECODERS
from capsnet.networks.losses import RECONSTRUCTION_LOSSES, margin_loss
from capsnet.training import tasks
from capsnet.training.loop import Course, train, train_side_by_side
from capsnet.training.schedules import ALPHA_SCHEDULES
from capsnet.training.training_config import TrainingConfig

DECODER = pytest.mark.parametrize("decoder", DECODERS)
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def validated(monkeypatch: pytest.MonkeyPatch) -> list[Data]:
    """Collect the images and labels of each evaluation."""
    splits: list[Data] = []

    def recording(model: CapsNet, images: Tensor, labels: Tensor, **options: Any) -> Scores:
        splits.append((images, labels))
        return evaluate(model, images, labels, **options)

    monkeypatch.setattr(tasks, "evaluate", recording)
    return splits


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
