"""Run-time shape checks of the library, and the tiny network and images that tests share."""

import gc
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from jaxtyping import install_import_hook
from overlapping import SHIFT

from pipeline.runtime.collector import collect_rarely

if TYPE_CHECKING:
    from torch import Tensor

    from capsnet.networks.capsnet import AttentionConfig, ModelConfig, Output
    from capsnet.training.training_config import TrainingConfig

# Before anything imports capsnet: modules that are already there are not checked.
install_import_hook(["capsnet"], "beartype.beartype")
# Before anything imports triton or asks for a device: the ordinary tests see no GPU and interpret Triton's kernels, so
# that they are the same tests on every machine. `make gpu` runs those marked `gpu`, and sets this variable.
if os.environ.get("CAPSNET_TEST_GPU") != "1":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ["TRITON_INTERPRET"] = "1"

OUTSIDE = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_RUN_ID",
    "CAPSNET_MIRROR",
    "CAPSNET_OPTUNA_STORAGE",
    "CAPSNET_OPTUNA_GRACE",
    "DVC_ROOT",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--regenerate-golden", action="store_true", help="write tests/training/golden/ anew instead of comparing"
    )


# The files that take longest, the longest first. One that began last would leave all other cores without work.
LONGEST = (
    "tests/pipeline/runtime/test_interruption.py",
    "tests/pipeline/stages/test_whole_files.py",
    "tests/pipeline/apps/test_prove.py",
    "tests/faults/test_faults_in_small.py",
    "tests/pipeline/doors/test_dvc_commands.py",
    "tests/pipeline/doors/test_mlflow_projects.py",
    "tests/pipeline/stages/test_read_only.py",
    "tests/pipeline/apps/cluster/test_cluster.py",
    "tests/pipeline/doors/test_queues_and_copies.py",
    "tests/pipeline/apps/cluster/test_study.py",
    "tests/pipeline/apps/cluster/test_lost_workers.py",
    "tests/pipeline/runtime/test_torchrun.py",
    "tests/pipeline/runtime/test_stopping.py",
    "tests/faults/test_folders.py",
    "tests/networks/test_fused_routing.py",
    "tests/pipeline/tracking/test_store_faults.py",
    "tests/kernels/test_triton_routing.py",
    "tests/pipeline/runtime/test_processes.py",
    "tests/benchmarks/test_speed_tables.py",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest files first; pytest-xdist keeps this order with --no-loadscope-reorder."""
    ranks = {config.rootpath / name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


def pytest_configure() -> None:
    collect_rarely()
    _forget_outside()


@pytest.fixture(autouse=True, scope="module")
def _what_is_there_stays() -> None:
    """Leave what was imported up to here out of later collections: a test may ask for dozens."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # else Triton, at the end of Python, calls what is left of it leaks


@pytest.fixture(autouse=True)
def _nothing_from_outside() -> Iterator[None]:
    """Undo what a test leaves in these variables, as MLflow's set_tracking_uri does.

    A fixture of a session or a module, which is made before that of a test, would hand it to its commands.
    """
    yield
    _forget_outside()


def _forget_outside() -> None:
    for name in OUTSIDE:
        os.environ.pop(name, None)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Tiny tensors are slower on several threads, by a factor of 100 when the cores are busy with something else."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_model() -> "ModelConfig":
    """A network of 8 primary capsules that trains in milliseconds."""
    from capsnet.networks.capsnet import ModelConfig

    return ModelConfig(
        image_size=20,
        channels=1,
        classes=3,
        standardise=False,
        padding="valid",
        conv_channels=8,
        conv_kernel=9,
        primary_types=2,
        primary_dim=4,
        primary_kernel=9,
        primary_stride=2,
        primary_scale=1.0,
        class_dim=4,
        routing_iterations=2,
        routing_bias=False,
        leaky_routing=False,
        decoder="fc",
        decoder_hidden=(16, 24),
        decoder_channels=4,
        batch_norm=False,
        initialisation="torch",
    )


@pytest.fixture(scope="session")
def tiny_attention() -> "AttentionConfig":
    """The other network, with 4 primary capsules."""
    from capsnet.networks.capsnet import AttentionConfig

    return AttentionConfig(
        image_size=20,
        channels=1,
        classes=3,
        standardise=False,
        class_dim=4,
        decoder="fc",
        decoder_hidden=(16, 24),
        decoder_channels=4,
        encoder_channels=(4, 8, 16),
        encoder_kernels=(5, 3, 3),
        encoder_strides=(1, 1, 2),
        encoder_norm="batch",
        encoder_leak=0.0,
        primary_dim=4,
    )


@pytest.fixture(scope="session")
def tiny_training() -> "TrainingConfig":
    """Two epochs, nothing decays, nothing is shifted, nothing is held out."""
    from capsnet.training.training_config import TrainingConfig

    return TrainingConfig(
        task="classify",
        epochs=2,
        batch_size=8,
        lr=0.003,
        lr_schedule="decay",
        lr_decay=1.0,
        lr_decay_steps=10,
        lr_floor=0.0,
        margin_weight=1.0,
        alpha=0.0005,
        alpha_schedule="constant",
        decoded_share=1.0,
        reconstruction="l2",
        max_shift=0,
        flip=False,
        rotation=0.0,
        rotation_share=1.0,
        squeeze=0.0,
        scale=0.0,
        erase=0,
        brightness=0.0,
        brightness_change="add",
        contrast=(1.0, 1.0),
        clip_pixels=True,
        validation=0.0,
        precision="float32",
    )


@pytest.fixture(scope="session")
def tiny_data() -> "tuple[Tensor, Tensor]":
    """32 images of 20x20 pixels: a bright square whose place tells which of 3 classes, on a background of its own."""
    import torch

    labels = torch.arange(32) % 3
    images = torch.arange(32, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 20, 20).clone()
    for image, label in zip(images, labels.tolist(), strict=True):
        image[:, 2 + 5 * label : 8 + 5 * label, 3 : 17 - 4 * label] = 230
    return images, labels


@pytest.fixture
def shifted(tiny_training: "TrainingConfig") -> "TrainingConfig":
    """Every image is drawn anew each epoch."""
    return replace(tiny_training, max_shift=2)


@pytest.fixture
def eventful(tiny_training: "TrainingConfig") -> "TrainingConfig":
    """Everything that happens over a training: decay, annealing, shifts, a validation split, a left-over image."""
    return replace(
        tiny_training, epochs=5, lr_decay=0.5, alpha_schedule="tanh", max_shift=2, validation=0.2, batch_size=5
    )


@pytest.fixture
def normalised(tiny_model: "ModelConfig") -> "ModelConfig":
    """A network with convolutions and batch normalisation in both halves."""
    return replace(tiny_model, decoder="deconv", batch_norm=True, routing_bias=True)


@pytest.fixture
def numbered() -> "tuple[Tensor, Tensor]":
    """Give 33 images that can be told apart by any pixel."""
    return torch.arange(33, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 20, 20), torch.arange(33) % 3


@pytest.fixture
def seen_in_training(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Collect the images of each training step by the number in their first pixel."""
    from capsnet.networks.capsnet import CapsNet

    batches: list[list[int]] = []
    forward = CapsNet.forward

    def recording(self: CapsNet, images: "Tensor", *arguments: Any, **options: Any) -> "Output":
        if self.training:
            batches.append((255 * images[:, 0, 0, 0]).round().int().tolist())
        return forward(self, images, *arguments, **options)

    monkeypatch.setattr(CapsNet, "forward", recording)
    return batches


@pytest.fixture
def field(tiny_model: "ModelConfig") -> "ModelConfig":
    """A network that sees images of 20 pixels wherever a shift of up to 2 moves them."""
    return replace(tiny_model, image_size=20 + 2 * SHIFT)


@pytest.fixture
def separating(tiny_training: "TrainingConfig") -> "TrainingConfig":
    return replace(tiny_training, task="separate", max_shift=SHIFT)
